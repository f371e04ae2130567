// Package deliver serves topics over HTTP: the resource /topics. A [Handler]
// takes publishes into a [topic.Store] and hands events out, over whichever
// transport the request asks for:
//
//   - Server-Sent Events, of one topic or of several on one stream;
//   - JSON pages, with long-polling;
//   - WebSocket, of one topic as an envelope a message, or of many with the
//     subprotocol fairlead.v1.json, which also publishes. Its handshake is an
//     upgrade of HTTP/1.1 or an extended CONNECT of HTTP/2 or HTTP/3 (RFC 8441,
//     RFC 9220); nothing after it differs.
//
// Every transport speaks of the same cursors: three events over SSE, the next
// three over WebSocket and the rest by long-poll are one unbroken sequence. A
// subscriber's session is a [topic.Reader] and a loop that asks it for what is
// next, encodes nothing twice, and writes what is pending at once; a subscriber
// that does not read costs a position in a log and no queue.
//
// What differs from a handler as one would write it: a session ends when its
// reader has gone, stalls or falls silent, and never because of the server's
// WriteTimeout; it says why it ends, in the words of its transport; and
// [Handler.Drain] sends the sessions away a few at a time, each told when and
// from where to come back.
//
// With Config.Engine, sessions on plain HTTP/1.1 that are not coded have no goroutine:
// the engine's shards serve them all. Another SSE session is the request's own
// goroutine, another WebSocket session one more, which its handler joins.
package deliver
