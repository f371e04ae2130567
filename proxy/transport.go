package proxy

import "net/http"

// NewTransport returns net/http's default transport as a proxy needs it:
// bodies pass as they are, no proxy of the environment is used, the response's
// header is bounded, and idle connections are kept for reuse. The room
// upstream has one with endpoints and tuned numbers. The caller owns it and
// ends its idle connections with [http.Transport.CloseIdleConnections].
func NewTransport() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // the program has replaced it
		t = &http.Transport{ForceAttemptHTTP2: true}
	}
	t = t.Clone()
	t.Proxy = nil
	t.DisableCompression = true
	// net/http's 2 per host close and dial again under any concurrency.
	t.MaxIdleConnsPerHost = 256
	// Anything larger is an attack or a bug; net/http's default is 10 MiB.
	t.MaxResponseHeaderBytes = 1 << 20
	return t
}
