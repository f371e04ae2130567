package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// QUIC adjusts HTTP/3 (RFC 9114) over QUIC (RFC 9000).
type QUIC struct {
	// EarlyData reports whether a request may be answered before its client is
	// known to be there (0-RTT, RFC 8470): whoever copied it can send it again.
	// It is asked for safe methods only; other requests wait for the end of the
	// handshake. The handler sees "Early-Data: 1" on a request that did not. nil:
	// 0-RTT is not offered.
	EarlyData func(*http.Request) bool
	// Port is announced to clients of HTTP/1.1 and 2 (RFC 7838), where it is not
	// the listener's that they reach. 0: the listener's.
	Port int
	// WebSocket lets clients open WebSockets over HTTP/3 (RFC 9220). false:
	// they are answered 501.
	WebSocket bool
	// Previous is what [Server.HandOverQUIC] returned to the process before this
	// one, whose connections go on, until it ends; Serve takes it. nil: there was
	// none.
	Previous *os.File
}

// quicServer serves HTTP/3 on one packet connection.
type quicServer struct {
	server    *Server
	transport quic.Transport
	handler   http.Handler
	altSvc    []string // the value of the header, shared by all responses

	accepting atomic.Bool
	shaking   atomic.Int64 // handshakes that are not complete

	// life ends when all is to be closed at once.
	life context.Context
	end  context.CancelFunc
	// serving are the accept loop, the connections and what they started.
	serving sync.WaitGroup
	release func() error

	mu       sync.Mutex
	listener *quic.EarlyListener
	stopped  bool
	draining bool
	conns    map[*quic.Conn]*quicConn // at most Limits.Connections
	lent     uint64                   // of windowBudget
}

func newQUIC(s *Server, udp net.PacketConn) *quicServer {
	q := &quicServer{
		server:  s,
		handler: s.wrap(s.cfg.Handler),
		conns:   make(map[*quic.Conn]*quicConn),
	}
	q.transport = quic.Transport{
		Conn:                udp,
		ConnContext:         q.admit,
		VerifySourceAddress: func(net.Addr) bool { return q.shaking.Load() >= maxShaking },
	}
	q.life, q.end = context.WithCancel(context.Background())
	q.release = sync.OnceValue(q.free)
	port := s.cfg.QUIC.Port
	if a, ok := udp.LocalAddr().(*net.UDPAddr); ok && port == 0 {
		port = a.Port
	}
	if port != 0 {
		q.altSvc = []string{fmt.Sprintf(`h3=":%d"; ma=86400`, port)}
	}
	return q
}

// serve accepts connections until stopAccepting.
func (q *quicServer) serve() error {
	l, err := q.listen()
	if l == nil {
		return err
	}
	defer q.serving.Done()
	q.accepting.Store(true)
	defer q.accepting.Store(false)
	for {
		conn, err := l.Accept(context.Background())
		if errors.Is(err, quic.ErrServerClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen: accept over QUIC: %w", err)
		}
		c, _ := conn.Context().Value(quicConnKey{}).(*quicConn)
		q.serving.Go(func() { c.serve(conn) })
	}
}

// listen returns no listener if the server has stopped already, and an error if
// it cannot listen; otherwise the accept loop is counted in q.serving.
func (q *quicServer) listen() (*quic.EarlyListener, error) {
	conn, err := q.open()
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		_ = conn.Close()
		return nil, nil
	}
	q.transport.Conn = conn
	quietly()
	l, err := q.transport.ListenEarly(http3.ConfigureTLSConfig(q.server.cfg.TLS.udp()), q.config())
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("listen: QUIC: %w", err)
	}
	warnBuffers(conn, q.server.cfg.Logger)
	q.listener = l
	q.serving.Add(1)
	return l, nil
}

// open returns the packet connection as quic-go is to see it. Servers that share
// a ring of keys can reset each other's connections (RFC 9000, section 10.3) and
// take each other's word for a client's address (section 8.1).
func (q *quicServer) open() (net.PacketConn, error) {
	keys := q.server.cfg.TLS.Tickets
	reset, token := quic.StatelessResetKey(keys.statelessReset()), quic.TokenGeneratorKey(keys.token())
	q.transport.StatelessResetKey, q.transport.TokenGeneratorKey = &reset, &token
	q.transport.ConnectionIDLength = connIDLen
	udp, ok := q.transport.Conn.(*net.UDPConn)
	previous := q.server.cfg.QUIC.Previous
	if !ok && previous != nil {
		_ = previous.Close()
		return nil, errors.New("listen: take QUIC over: the packet connection is not a UDP socket")
	}
	if !ok {
		return q.transport.Conn, nil
	}
	u, err := newUDPSocket(udp, previous)
	if err != nil {
		return nil, err
	}
	q.transport.ConnectionIDGenerator = connIDs{u.mark}
	return u, nil
}

// socket returns nil as long as the server does not listen on a UDP socket.
func (q *quicServer) socket() *udpSocket {
	q.mu.Lock()
	defer q.mu.Unlock()
	u, _ := q.transport.Conn.(*udpSocket)
	return u
}

// announce tells clients of HTTP/1.1 and 2 about HTTP/3 (RFC 7838), as long as
// a connection would be accepted.
func (q *quicServer) announce(h http.Header) {
	if q.altSvc != nil && q.accepting.Load() {
		h["Alt-Svc"] = q.altSvc
	}
}

// stopAccepting refuses new connections; those there are go on.
func (q *quicServer) stopAccepting() {
	q.accepting.Store(false)
	q.mu.Lock()
	l := q.listener
	q.stopped = true
	q.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
}

// shutdown asks all clients to go (RFC 9114, section 5.2) and returns when they
// are gone, or closes their connections when ctx ends, and returns its error.
func (q *quicServer) shutdown(ctx context.Context) error {
	q.stopAccepting()
	q.mu.Lock()
	q.draining = true
	conns := make([]*quicConn, 0, len(q.conns))
	for _, c := range q.conns {
		conns = append(conns, c)
	}
	q.mu.Unlock()
	for _, c := range conns {
		c.retire()
	}
	gone := make(chan struct{})
	go func() {
		q.serving.Wait()
		close(gone)
	}()
	var err error
	select {
	case <-gone:
	case <-ctx.Done():
		err = ctx.Err()
	}
	err = errors.Join(err, q.close())
	<-gone
	return err
}

// close closes all connections, and returns when the handlers of their requests
// and every goroutine of theirs has ended.
func (q *quicServer) close() error {
	q.stopAccepting()
	q.mu.Lock()
	q.draining = true
	conns := make([]*quic.Conn, 0, len(q.conns))
	for conn := range q.conns {
		conns = append(conns, conn)
	}
	q.mu.Unlock()
	q.end()
	for _, conn := range conns {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
	q.serving.Wait()
	return q.release()
}

// free gives the socket back.
func (q *quicServer) free() error {
	q.mu.Lock()
	begun, conn := q.listener != nil, q.transport.Conn
	q.mu.Unlock()
	var err error
	if begun {
		err = q.transport.Close()
	}
	if closeErr := conn.Close(); begun {
		err = errors.Join(err, closeErr)
	}
	return err
}
