// Package capture records the streamed responses of a plain API while they
// pass, so that a reader that dropped can come back for the rest. The API is
// not changed and is called once.
//
// A [Store] holds the recorded streams. It gives out round trippers, one for
// each route with its [Config], which stand between a reverse proxy and the
// transport to the upstream; and it is the [http.Handler] of the streams' own
// URLs, below [Prefix]. With nothing but the standard library:
//
//	store := capture.NewStore(capture.StoreConfig{})
//	proxy := httputil.NewSingleHostReverseProxy(upstream)
//	proxy.Transport = store.Transport(capture.Config{}, http.DefaultTransport)
//	mux.Handle(capture.Prefix+"/", store)
//	mux.Handle("/", proxy)
//
// # What a client sees
//
// The first reader gets the response as the upstream sends it, with the
// stream's URL in Content-Location. An event stream comes in whole events; an
// event without an id gets one, and a silent upstream is covered by comments.
// When the upstream breaks, the body ends in an error, never in a clean end.
//
// There are three ways back to a stream: its URL, which tells gaps, the end
// and faults by control events; the same request again under the same
// Idempotency-Key, which yields the whole answer; and a reconnect of an
// EventSource, which brings an id that was added here in Last-Event-ID.
//
// # How it works
//
// Each stream is a log of package topic, and everybody reads that log, the
// first reader included. So a slow reader costs no memory of its own. When the
// log is full of what a reader has not read, the upstream is held back for up
// to 30 seconds; after that the reader loses its place, which the stream's URL
// tells as a gap and a body as an error.
//
// The upstream call is made on a context of its own, and one goroutine for each
// recorded response, which belongs to the Store, reads the body. It makes the
// call too where others than its caller may want the answer: under an
// Idempotency-Key, with Last-Event-ID, with [Config.CommitAfter] and when it
// lingers. A call without any of these is made on the caller's goroutine, and
// ends with the caller until its response is recorded. [Store.Drain] and
// [Store.Close] join calls and goroutines.
//
// # Who may come back
//
// [Config.Owner] says what identifies a caller. Without it, and without an
// Authorization header, the id in the stream's URL is the capability; an
// Idempotency-Key of such a caller should be hard to guess, as a UUID is. A
// repeat under the key, and a DELETE by it, must carry the same credentials,
// cookies and the usual headers for API keys included.
//
// # Two processes
//
// The upstream call of a stream lives in its process. Where one process hands
// over to another, each makes the other's store a peer of its own
// ([Store.AddPeer], [Store.PeerHandler]): what a store does not know it asks its
// peers for, so that clients find a stream whichever process they reach, and the
// upstream is called once.
//
// # A reconnect after the end
//
// A request with one of our ids for a stream that is over goes upstream, with
// the upstream's own last id, since many servers end a response and expect a
// reconnect. Where the upstream gave no id that would be a new answer in the
// middle of another: a reader that lacks events gets those instead, and only
// its next reconnect goes upstream.
//
// # Limits
//
// Streams live in memory, about 4 KiB each beside what they carry, and end with
// the process. What was kept long enough is evicted by the next use of the
// Store, or by [Store.Sweep]. An id of this package that
// is met after a restart that had no hand-over, or behind a second instance in
// front of this one, is taken for one of an earlier life: the request goes upstream without it.
package capture
