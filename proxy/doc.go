// Package proxy forwards HTTP requests through any [http.RoundTripper].
//
// A [Handler] stands where net/http/httputil.ReverseProxy would, and is built
// on it: one request in, one request out, both bodies streamed. What differs
// is what a proxy in front of long-lived streams needs:
//
//   - A response that breaks off upstream breaks off downstream too: no final
//     chunk, or RST_STREAM, under every server. It never looks like an end.
//   - Trailers pass both ways, announced or not, but for fields that may stand in a
//     header only (RFC 9110 §6.5.1), and so do 1xx responses.
//   - Both bodies flow at once, on HTTP/1.1 too, where net/http would read
//     up to 256 KiB of the request before it lets the response out.
//   - Forwarded and X-Forwarded-* are believed from trusted peers only; from
//     others they are removed in every spelling and written anew.
//   - It cannot be an open proxy: CONNECT is refused with 405, but for the
//     WebSocket handshake of HTTP/2 and HTTP/3, and a request
//     for another host in absolute form with 421. Upgrades to other versions
//     of HTTP, by which requests are smuggled past a proxy, do not pass.
//   - WebSockets and other upgrades are relayed by a function of the caller's
//     choice, counted, and ended and joined by [Handler.Close].
//   - Errors are problem details (RFC 9457) that name the cause to the client
//     and no address; the whole error goes to [Config.Observe].
//
// # Flushing
//
// A response of unknown length, and any text/event-stream, is a stream: each
// read from the upstream is flushed at once. A response of known length may
// wait in the server's 4 KiB buffer, for at most 10 ms, so that a small answer
// costs one write and a slow one is still not held back.
//
// # Both directions at once
//
// On HTTP/1.1 a request with a body switches its connection to full duplex
// ([http.ResponseController.EnableFullDuplex]). The risk is a client that
// reads nothing until it has written everything: it deadlocks if the upstream
// answers early at length and stops reading. It would without a proxy as
// well, and the alternative hangs every conversation that takes turns.
//
// # Clients that do not read
//
// Each write to a client has [Config.WriteTimeout], so that one that reads
// nothing holds neither its goroutine nor what it was to be sent for ever.
//
// # What waits
//
// [Handler.Transfers] shows the streams and the upgraded connections: how much
// went each way and when last, how much is here, and for how long whoever is to
// take it has not. [Handler.Backlog] sums it up for metrics. What is counted
// costs a small request two short locks and no allocation.
//
// # WebSockets of HTTP/2 and HTTP/3
//
// A client on these versions opens a WebSocket by an extended CONNECT (RFC
// 8441, RFC 9220), as browsers do once the server's SETTINGS offer it. It is
// bridged to an upgrade of HTTP/1.1 upstream: a GET with a key of the proxy's
// own, subprotocols and extensions as the client sent them, and the upstream's
// 101 becomes a 200. Any other answer passes as it is, but for a 2xx without a
// switch, which the client would take for an open tunnel: that is a 502. The
// pseudo-header :protocol goes nowhere. From there on a bridge is a relay like
// the others; where it broke, the client's stream is reset.
//
// # gRPC
//
// A call of gRPC passes like any request: its messages unread, each flushed as it
// comes, both ways at once, and its trailers after them, or instead of all else. The
// client needs HTTP/2 or 3, and the transport HTTP/2; [http.Transport] speaks it
// without TLS only if its Protocols say so. With a transport that chooses an
// endpoint for each request, the calls of one connection are balanced one by one.
//
// The deadline of a call (grpc-timeout) holds here too: it cancels the upstream, and
// the client is told DEADLINE_EXCEEDED. A value that cannot be read is
// INVALID_ARGUMENT. Who hands the call on can take the time that is left from the
// deadline of the request's context. A response of gRPC-Web that has begun has half a second
// more: its status stands in the body, so that the upstream, which knows the deadline
// too, is who can tell it; after that it is reset. Without one, a call may be silent for ever; but
// a client that does not take what there is for it, by TCP or by gRPC's own flow
// control, is given up like any other ([Config.WriteTimeout]).
//
// What the handler has to say itself it says in gRPC's words ([Problem]): a status by
// the table of codes, a message, and where it is known when to come back,
// grpc-retry-pushback-ms and a RetryInfo. They stand in the header, or, where the
// upstream broke off, in the trailers, since a reset would leave the client guessing. A
// reset by the upstream has the status that gRPC over HTTP/2 has for its code, if the
// transport shows it; net/http's hides PROTOCOL_ERROR and REFUSED_STREAM of a request
// with a body. What else breaks is UNAVAILABLE. gRPC-Web is answered so too, in the
// header; a body of its that breaks off is reset, and so is one of Connect, whose calls
// are answered with problem details and the HTTP status.
//
// A Content-Length of an answer to gRPC does not pass, but for 0: its end is where its status is.
// If it is wrong, the call ends as one that broke off does, and the upstream's trailers
// are dropped.
//
// # Limits
//
// A half-close by the client of an upgraded connection ends it unless the
// upgraded body has a CloseWrite method; that of [http.Transport] has none.
// An upgrade, a bridged one too, needs a [Config.Transport] that carries it over
// HTTP/1.1, as [http.Transport] does: HTTP/2 has none. Trailers of a request
// that were not announced do not reach an upstream on HTTP/2, and trailers of a
// response need a client on HTTP/2 or a response of unknown length.
package proxy
