// Package websocket speaks the WebSocket protocol (RFC 6455) with its
// permessage-deflate extension (RFC 7692) over any stream, as either end.
//
// A [Conn] is a message connection on an [io.ReadWriteCloser]. [Accept] makes
// one from a request that net/http serves, [Dial] makes one to a URL, and
// [New] makes one on a stream whose handshake has been done elsewhere, such as
// a pipe in a test or an extended CONNECT. [Relay] joins two streams frame by
// frame without assembling messages, for a proxy.
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
package websocket
