package listen

import "net/http"

// settle reports whether a request may be served, in the end. One that came in
// early data waits for the end of the handshake, unless QUIC.EarlyData has it
// served at once and it is safe (RFC 8470, section 3): then it says so to
// whoever serves it (section 5.1). What a client says of its own is left, as
// intermediaries must.
func (c *quicConn) settle(r *http.Request) bool {
	if r.TLS.HandshakeComplete {
		return true
	}
	if early := c.server.server.cfg.QUIC.EarlyData; early != nil && safe(r.Method) && early(r) {
		r.Header.Set("Early-Data", "1")
		return true
	}
	select {
	case <-c.conn.HandshakeComplete():
	case <-r.Context().Done():
		return false
	}
	state := c.conn.ConnectionState().TLS
	r.TLS = &state
	return true
}

// safe reports whether a method is (RFC 9110, section 9.2.1).
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
