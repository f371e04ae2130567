package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Config describes a Server.
type Config struct {
	// Handler answers the requests. Required. Of a WebSocket over HTTP/2 or 3
	// (RFC 8441, 9220) it sees a CONNECT whose header ":protocol" is
	// "websocket".
	Handler http.Handler

	// TLS is how connections are secured. nil: they are not, and the protocols
	// are HTTP/1.1 and h2c.
	TLS *TLS

	// QUIC adjusts HTTP/3, which is served with TLS where [Server.Serve] is
	// given a packet connection.
	QUIC QUIC

	// Timeouts bound how long clients may take.
	Timeouts Timeouts

	// Limits bound what clients may make the server hold.
	Limits Limits

	// ProxyProtocol are the peers that send a PROXY protocol v2 header on each
	// TCP connection, with the client's address in it; connections of theirs
	// without one are closed. nil: no peer.
	ProxyProtocol []netip.Prefix

	// Refuse answers each request of a connection beyond a limit, which ends
	// after it; Retry-After and Connection are set already. At most 128 such
	// connections a second, and at one time for 5 s at most, are answered at all;
	// others are closed. nil: why.Reason with why.Status, in plain text.
	Refuse func(w http.ResponseWriter, r *http.Request, why Refusal)

	// BaseContext is the parent of the context of every request. nil:
	// [context.Background].
	BaseContext context.Context

	// Observer is told what happens to connections. Default: nobody is.
	Observer Observer

	// Logger gets what goes wrong on connections. nil: nobody does.
	Logger *slog.Logger
}

// Timeouts bound how long clients may take. None of them cuts a response, or
// an exchange in both directions, however long it lasts. Zero is the default,
// a negative duration no bound.
type Timeouts struct {
	// Header is for a TLS handshake, and again for a request's header. Default
	// 10 s: three losses of a packet in a row, of which TCP makes up within 7 s.
	Header time.Duration
	// Body is for each next part of a request's body, until the response
	// begins; the Read that waited fails with [os.ErrDeadlineExceeded]. Over
	// HTTP/2 and 3 it holds for bodies of declared length only, since another
	// one may be an exchange, and so is, over HTTP/1.1, a body of no declared
	// length of the media types of Connect's streams and of gRPC-Web. Default
	// 30 s: a phone may lose its network for a while.
	Body time.Duration
	// Idle is how long a connection without a request is kept. Default 75 s:
	// longer than the 60 s for which the usual load balancers keep theirs, so
	// that they, who send the next request, are who closes. Clients of HTTP/1.1
	// are told (Keep-Alive: timeout=75).
	Idle time.Duration
	// MaxAge is after what time, ±10 %, a connection is asked to end when its
	// requests are over, so that clients spread anew. Default 1 h.
	MaxAge time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&t.Header, 10 * time.Second}, {&t.Body, 30 * time.Second}, {&t.Idle, 75 * time.Second}, {&t.MaxAge, time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
		*d.value = max(*d.value, 0) // 0 is no bound from here on, as in net/http
	}
	return t
}

// Server serves one address. Its methods may be called concurrently.
type Server struct {
	cfg  Config
	gate *gate
	http http.Server

	mu      sync.Mutex
	tcp     net.Listener // nil until Serve
	quic    *quicServer  // nil without HTTP/3
	stopped bool         // no new connection
}

// New returns a Server, or an error that says what of cfg is wrong.
func New(cfg Config) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("listen: no Handler: set Config.Handler")
	}
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.BaseContext == nil {
		cfg.BaseContext = context.Background()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, gate: newGate(cfg.Limits, cfg.Logger)}
	s.gate.observer = cfg.Observer
	if err := s.configure(); err != nil {
		return nil, err
	}
	return s, nil
}

// Serve accepts connections on tcp and, unless it is nil and with TLS, on udp,
// and closes both in the end. It may be called once, and returns nil after
// [Server.StopAccepting], [Server.Shutdown] or [Server.Close], else why
// accepting failed; connections go on after it until one of the latter two.
func (s *Server) Serve(tcp net.Listener, udp net.PacketConn) error {
	q, ok := s.begin(tcp, udp)
	if !ok {
		return nil
	}
	var both sync.WaitGroup
	var quicErr error
	if q != nil {
		both.Go(func() {
			quicErr = q.serve()
			s.StopAccepting() // one without the other would be half a server
		})
	}
	accept := &acceptor{Listener: tcp, server: s}
	var err error
	if s.cfg.TLS != nil {
		err = s.http.ServeTLS(accept, "", "")
	} else {
		err = s.http.Serve(accept)
	}
	asked := s.stop()
	both.Wait()
	if asked {
		return quicErr
	}
	return errors.Join(fmt.Errorf("listen: accept: %w", err), quicErr)
}

// begin reports whether the server may serve; if not, all is closed.
func (s *Server) begin(tcp net.Listener, udp net.PacketConn) (*quicServer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		_ = tcp.Close()
		if udp != nil {
			_ = udp.Close()
		}
		if older := s.cfg.QUIC.Previous; older != nil {
			_ = older.Close() // which tells the older process that nothing comes of it
		}
		return nil, false
	}
	s.tcp = tcp
	switch {
	case udp != nil && s.cfg.TLS != nil:
		s.quic = newQUIC(s, udp)
	case udp != nil:
		_ = udp.Close() // there is no QUIC without TLS
	}
	return s.quic, true
}

// StopAccepting closes the listening sockets; connections go on, and requests
// on them are served.
func (s *Server) StopAccepting() { s.stop() }

// stop reports whether it had been called before.
func (s *Server) stop() bool {
	s.mu.Lock()
	before := s.stopped
	s.stopped = true
	tcp, q := s.tcp, s.quic
	s.mu.Unlock()
	if before {
		return true
	}
	if tcp != nil {
		_ = tcp.Close()
	}
	if q != nil {
		q.stopAccepting()
	}
	return false
}

// Shutdown stops accepting, asks clients to go, closes connections as they
// become idle and returns when there are none any more, or when ctx ends, with
// its error. Connections that were taken over, WebSockets of HTTP/1.1, are not
// waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	s.gate.draining.Store(true)
	s.stop()
	var both sync.WaitGroup
	var quicErr error
	if q := s.quicServer(); q != nil {
		both.Go(func() { quicErr = q.shutdown(ctx) })
	}
	err := s.http.Shutdown(ctx)
	both.Wait()
	return errors.Join(err, quicErr)
}

// Close closes everything at once, and returns when no connection is served
// over QUIC any more.
func (s *Server) Close() error {
	s.gate.draining.Store(true)
	s.stop()
	err := s.http.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the listener, by stop
	}
	if q := s.quicServer(); q != nil {
		err = errors.Join(err, q.close())
	}
	return err
}

func (s *Server) quicServer() *quicServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quic
}
