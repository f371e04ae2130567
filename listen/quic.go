package listen

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// QUIC adjusts HTTP/3 (RFC 9114) over QUIC (RFC 9000).
type QUIC struct {
	// EarlyData reports whether a request may be answered before its client is
	// known to be there (0-RTT, RFC 8470): whoever copied it can send it again.
	// It is asked for safe methods only; other requests wait for the end of the
	// handshake. nil: 0-RTT is not offered.
	EarlyData func(*http.Request) bool
	// WebSocket lets clients open WebSockets over HTTP/3 (RFC 9220). false:
	// they are answered 501.
	WebSocket bool
}

// quicServer serves HTTP/3 on one packet connection.
type quicServer struct {
	server    *Server
	transport quic.Transport
	http      http3.Server
	listener  *quic.EarlyListener
}

func newQUIC(s *Server, udp net.PacketConn) *quicServer {
	q := &quicServer{server: s, transport: quic.Transport{Conn: udp}}
	q.http = http3.Server{Handler: s.wrap(s.cfg.Handler), MaxHeaderBytes: s.cfg.Limits.HeaderBytes, IdleTimeout: s.cfg.Timeouts.Idle}
	if a, ok := udp.LocalAddr().(*net.UDPAddr); ok {
		q.http.Port = a.Port
	}
	return q
}

// serve accepts connections until stopAccepting.
func (q *quicServer) serve() error {
	l, err := q.transport.ListenEarly(http3.ConfigureTLSConfig(q.server.cfg.TLS.udp()), &quic.Config{
		MaxIncomingStreams: int64(q.server.cfg.Limits.Streams),
	})
	if err != nil {
		return err
	}
	q.listener = l
	if err = q.http.ServeListener(l); errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (q *quicServer) announce(h http.Header) { _ = q.http.SetQUICHeaders(h) }

func (q *quicServer) stopAccepting() { _ = q.listener.Close() }

func (q *quicServer) shutdown(ctx context.Context) error {
	err := q.http.Shutdown(ctx)
	return errors.Join(err, q.transport.Close(), q.transport.Conn.Close())
}

func (q *quicServer) close() error {
	return errors.Join(q.http.Close(), q.transport.Close(), q.transport.Conn.Close())
}
