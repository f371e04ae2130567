// Package websocket speaks the WebSocket protocol (RFC 6455) with its
// permessage-deflate extension (RFC 7692) over any stream, as either end.
//
// A [Conn] is a message connection on an [io.ReadWriteCloser]. [Accept] makes
// one from a request that net/http serves, [Dial] makes one to a URL, and
// [New] makes one on a stream whose handshake has been done elsewhere, such as
// a pipe in a test. [Relay] joins two streams frame by frame without assembling
// messages, for a proxy. [Take] and [Parser] are for an event loop with more
// connections than goroutines: Take does the handshake and leaves the stream
// alone, a Parser makes messages of bytes as they arrive.
//
// What differs from what one might expect:
//
//   - A Conn starts no goroutine. Pings are answered and closes are echoed
//     inside [Conn.Read], so a program keeps a Read going even when it only
//     writes. Nothing sends heartbeats by itself: one ticker for all of a
//     server's connections that calls [Conn.Ping] and looks at [Conn.LastRead]
//     costs less than a timer each, and the package example shows it.
//   - A message is one Write to the stream, header included, so that it is one
//     segment or one HTTP/2 DATA frame.
//   - [AppendFrame] encodes a server's message once, and [Conn.WriteFrame] sends
//     the same bytes to any number of connections.
//   - Every rule of the framing is enforced, and a violation is a
//     [*ProtocolError] whose code the peer was told.
//   - All input is bounded: [Config.MaxMessage] holds after decompression too.
//
// # HTTP/2 and HTTP/3
//
// There a WebSocket is one stream of the connection, opened by an extended
// CONNECT (RFC 8441, RFC 9220): a CONNECT whose header ":protocol" is
// websocket, with no key and answered by 200. Accept takes it as it takes an
// upgrade, and [IsHandshake] knows both, for a handler that also has other
// things at the path. One difference is left to the handler: the Conn ends with
// its request, so that it must be closed before the handler returns.
//
// net/http's server offers it to HTTP/2 clients when http2xconnect=1 stands in
// the environment variable GODEBUG as the program starts. Browsers then use it
// for every WebSocket to an origin that they have an HTTP/2 connection to.
package websocket
