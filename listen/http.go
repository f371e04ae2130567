package listen

import (
	"context"
	"net"
	"net/http"
	"time"
)

// configure sets up net/http's server, for HTTP/1.1 and 2.
func (s *Server) configure() error {
	cfg, h := &s.cfg, &s.http
	h.Handler = s.wrap(cfg.Handler)
	h.BaseContext = func(net.Listener) context.Context { return cfg.BaseContext }
	h.ConnContext = connContext
	h.ErrorLog = NewErrorLog(cfg.Logger)
	h.Protocols = new(http.Protocols)
	h.Protocols.SetHTTP1(true)
	if cfg.TLS == nil {
		h.Protocols.SetUnencryptedHTTP2(true)
	} else {
		h.Protocols.SetHTTP2(true)
		var err error
		if cfg.TLS, err = cfg.TLS.complete(cfg.Logger); err != nil {
			return err
		}
		h.TLSConfig = cfg.TLS.tcp()
	}
	h.ReadHeaderTimeout = cfg.Timeouts.Header
	h.IdleTimeout = cfg.Timeouts.Idle
	h.MaxHeaderBytes = cfg.Limits.HeaderBytes
	// No ReadTimeout and no WriteTimeout, which would end streams.
	h.HTTP2 = sizes(&cfg.Limits)
	return nil
}

// What a client may make the server hold before anybody reads it is bounded by
// receive windows: 1,000 connections of one address hold 125 MiB at most. A
// single upload gets 96 KiB a round trip, 16 Mbit/s at 50 ms, and leaves room
// for another one beside it that nobody reads.
const (
	connWindow   = 128 << 10
	streamWindow = 96 << 10
)

// A silent connection of HTTP/2 is asked for a sign of life, and given up later.
const (
	pingEvery   = 15 * time.Second
	pingTimeout = 15 * time.Second
)

// sizes returns what bounds the connections of HTTP/2.
func sizes(l *Limits) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxReceiveBufferPerConnection: connWindow,
		MaxReceiveBufferPerStream:     streamWindow,
		// What every client starts with (RFC 9113, section 6.5.2). A larger table
		// would save a few bytes of headers that are larger than a request should
		// have, for memory on each connection.
		MaxDecoderHeaderTableSize: 4096,
		MaxEncoderHeaderTableSize: 4096,
		// Larger frames only delay the other streams of the connection.
		MaxReadFrameSize: 16 << 10,
		SendPingTimeout:  pingEvery,
		PingTimeout:      pingTimeout,
		// A client that takes no byte for this long is gone.
		WriteByteTimeout: 30 * time.Second,
	}
}

// wrap puts around the handler what each request passes, from the outside in:
// the refusal of a whole connection comes first, and who answers in the
// handler's place passes all that follows.
func (s *Server) wrap(next http.Handler) http.Handler {
	h := next
	if s.cfg.TLS != nil {
		h = s.announceQUIC(h)
	}
	return s.refuse(s.keep(s.timeBodies(h)))
}

func (s *Server) announceQUIC(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := s.quicServer(); q != nil && r.ProtoMajor < 3 {
			q.announce(w.Header())
		}
		next.ServeHTTP(w, r)
	})
}
