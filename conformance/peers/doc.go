// Command peers measures Fairlead's connections to upstreams beside those of
// nginx, HAProxy, Caddy and a twin: httputil.ReverseProxy on a tuned
// http.Transport. ci/peers installs what is missing and runs it.
//
//	peers [-fairlead PROGRAM] [-only NAME,...] stale|cpu|slow...
//
// All is on loopback, with clients and backends in this process and each proxy
// in its own. The tables are Markdown, on standard output.
//
// stale: POSTs whose reuse of a connection meets the backend's closing it. Each
// lane sends the backend's idle timeout ±1 ms after its last answer; in waves
// all send at once, so that each of the proxy's connections has been idle for
// just that long: the worst case. The backend keeps a ledger of what it
// executed. No request has an Idempotency-Key.
//
// cpu: user and system time of the proxy's processes for a small GET over
// keep-alive connections, as the ratio to the twin of the same round. The order
// turns around from round to round.
//
// slow: GETs at a fixed rate to three backends, one of which turns slow, dies
// or falls silent when the measurement begins. A request that fails counts with
// the client's whole patience, so that no proxy gains by failing early, and
// time is counted from when a request was due.
//
// The peers' configurations are in testdata; they differ from defaults where
// their manuals advise it, and choose by least connections. nginx and Caddy see
// bad backends by requests that fail, HAProxy by TCP checks too, the twin not at
// all. Each proxy uses as many cores as it likes.
package main
