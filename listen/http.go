package listen

import (
	"context"
	"log/slog"
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
	h.ErrorLog = slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn)
	h.Protocols = new(http.Protocols)
	h.Protocols.SetHTTP1(true)
	if cfg.TLS == nil {
		h.Protocols.SetUnencryptedHTTP2(true)
	} else {
		h.Protocols.SetHTTP2(true)
		conf, err := cfg.TLS.tcp()
		if err != nil {
			return err
		}
		h.TLSConfig = conf
	}
	h.ReadHeaderTimeout = cfg.Timeouts.Header
	h.IdleTimeout = cfg.Timeouts.Idle
	h.MaxHeaderBytes = cfg.Limits.HeaderBytes
	// No ReadTimeout and no WriteTimeout, which would end streams.
	h.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: cfg.Limits.Streams,
		// Larger frames only delay the other streams of the connection.
		MaxReadFrameSize: 16 << 10,
		// A silent connection is asked every 15 s and given up 15 s later.
		SendPingTimeout: 15 * time.Second,
		PingTimeout:     15 * time.Second,
		// A client that takes no byte for this long is gone.
		WriteByteTimeout: 30 * time.Second,
	}
	return nil
}

// wrap puts around the handler what each request passes, from the outside in.
func (s *Server) wrap(next http.Handler) http.Handler {
	h := s.refuse(next)
	if s.cfg.TLS != nil {
		h = s.announceQUIC(h)
	}
	return h
}

func (s *Server) announceQUIC(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := s.quicServer(); q != nil && r.ProtoMajor < 3 {
			q.announce(w.Header())
		}
		next.ServeHTTP(w, r)
	})
}
