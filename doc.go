// Package fairlead holds the nouns that both ends of Fairlead share: [Event],
// [Cursor], and [Error] with its [Code].
//
// Fairlead is a network edge and delivery server for APIs. Its one idea is
// one log per topic, one cursor per reader: a topic is a bounded append-only
// log, and every subscriber, on any transport, is a position in that log and
// not a queue of its own. A reader that drops comes back with its cursor and
// continues exactly there, over the same transport or another one.
//
// The rooms of the module, in the order in which a connection meets them, are
// listed in ARCHITECTURE.md. Each works alone with net/http:
//
//   - topic: the logs, their retention and their delivery policies
//   - sse, websocket: wire formats, both ends
//   - deliver: the HTTP resource /topics over SSE, WebSocket and long-poll
//   - proxy, capture: a reverse proxy, and a recorder that makes the streamed
//     responses of a plain API resumable
//   - upstream: the endpoints of an API as one http.RoundTripper
//   - client: subscribe and publish
//   - daemon: all of it wired as the program fairlead
//
// This package imports nothing but the standard library and has no state.
package fairlead
