package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ConnInfo is what is known of the connection that a request came on. Whether
// its TLS session was resumed is in the request's TLS.DidResume.
type ConnInfo struct {
	// Since is when it was accepted.
	Since time.Time
	// Requests are those that came on it so far, this one included.
	Requests int64
}

// ConnInfoOf returns what is known of the connection of the request whose
// context this is, and false for a request of no Server of this package.
func ConnInfoOf(ctx context.Context) (ConnInfo, bool) {
	c := connOf(ctx)
	if c == nil {
		return ConnInfo{}, false
	}
	return ConnInfo{Since: c.since, Requests: c.requests.Load()}, true
}

// connection is what the server knows of a connection, over TCP or QUIC.
type connection struct {
	since    time.Time
	until    time.Time // from when on it is asked to end; zero for never
	requests atomic.Int64
	turns    turns
	aborts   aborts
	blamed   atomic.Bool
	end      func() // closes it at once; nil where nothing asks for it
	self     peer

	active atomic.Int32  // requests that are being served
	tls    atomic.Uint32 // version, and resumedBit; 0: none, or no request yet
	saw    atomic.Uint32 // a sign
	rested atomic.Int64  // nanoseconds after since, when the last request ended
	shaken atomic.Int64  // the same, when the handshake of TLS did
	spoke  atomic.Int64  // the same, when something came over HTTP/2

	next, previous *connection // of the gate's list, whose mu guards them

	// The gate's, whose mu guards all but why, which is set before the first
	// request.
	gate *gate
	place
	mute bool // it cannot be told why it is refused
	why  *Refusal
}

func (c *connection) refusal() *Refusal { return c.why }

// leave gives the connection's place at the gate back, once, and reports whether
// it had it; protocol is what was spoken.
func (c *connection) leave() (protocol uint8, had bool) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.unlist(c)
	return c.protocol, c.gate.leaveLocked(&c.place)
}

// peer is the connection below.
type peer interface {
	remote() string
	path() (Path, bool)
}

// begin notes when a connection began, and draws when it is to end.
func (c *connection) begin(maxAge time.Duration) {
	c.since = time.Now()
	if maxAge > 0 {
		c.until = c.since.Add(jitter(maxAge))
	}
}

// jitter returns d, ±10 %, so that what began together does not end together.
func jitter(d time.Duration) time.Duration {
	tenth := d / 10
	return d - tenth + rand.N(2*tenth+1) //nolint:gosec // only to spread clients
}

// acceptor hands the connections of a listener to net/http.
type acceptor struct {
	net.Listener

	server *Server
	first  sync.Once
	spare  spare
	warned atomic.Int64 // of a wrong PROXY protocol, in nanoseconds
}

// Accept returns the next connection that is served, or told why not.
func (a *acceptor) Accept() (net.Conn, error) {
	s := a.server
	a.first.Do(func() {
		s.watchFrames()
		a.spare.take()
	})
	for {
		conn, err := a.accept()
		if err != nil {
			return nil, err
		}
		c := &tcpConn{Conn: conn, secure: s.cfg.TLS != nil, idle: s.cfg.Timeouts.Idle}
		c.self = c
		c.end = func() { _ = conn.Close() } // below TLS, which would wait to say goodbye
		c.begin(s.cfg.Timeouts.MaxAge)
		from := addrOf(conn.RemoteAddr())
		if slices.ContainsFunc(s.cfg.ProxyProtocol, func(p netip.Prefix) bool { return p.Contains(from) }) {
			c.proxied = &proxied{server: s, warned: &a.warned}
			from = netip.Addr{} // whose it is, the header says
		}
		if !s.gate.admit(&c.connection, from) {
			c.tell(&s.gate.observer, 0, RefusedByLimit)
			_ = conn.Close()
			continue
		}
		tune(conn)
		if c.refusal() != nil {
			_ = c.SetDeadline(time.Time{})
		}
		return c, nil
	}
}

// tcpConn is a connection as net/http sees it.
type tcpConn struct {
	net.Conn
	connection

	proxied *proxied // nil when the peer speaks for itself
	secure  bool     // TLS is to come
	idle    time.Duration
	cutting atomic.Bool // the deadline of reads is past, to end one that waits
	heard   atomic.Bool // the client has sent something
}

func (c *tcpConn) remote() string { return c.known().String() }

var errDropped = errors.New("listen: connection refused: it is beyond a limit, and too many are")

// identify counts a connection, of which the address was not known yet, for its
// client. If it fails the connection is to be closed.
func (c *tcpConn) identify(client netip.Addr) error {
	if !c.gate.identify(&c.connection, client) {
		return errDropped
	}
	if c.refusal() != nil {
		return c.SetDeadline(time.Time{})
	}
	return nil
}

// Close gives the connection's place back.
func (c *tcpConn) Close() error {
	if protocol, had := c.leave(); had {
		c.tell(&c.gate.observer, protocol, c.reason())
	}
	return c.Conn.Close()
}

// CloseWrite ends what is sent, where the connection can.
func (c *tcpConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn lets the descriptor be used, where the connection has one.
func (c *tcpConn) SyscallConn() (syscall.RawConn, error) {
	inner, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if err := c.introduce(); err != nil { // what comes before the client's first byte
		return nil, err
	}
	return inner.SyscallConn()
}

// ReadFrom lets the system copy files (sendfile).
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	if from, ok := c.Conn.(io.ReaderFrom); ok {
		return from.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// SetDeadline and its like leave a connection that is refused no more time than
// it takes to be told.
func (c *tcpConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.deadline(t)) }

// SetReadDeadline is as SetDeadline. net/http takes it off for the first time when
// the handshake of TLS has been made.
func (c *tcpConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() && c.secure && c.shaken.Load() == 0 {
		c.shaken.Store(int64(time.Since(c.since)))
	}
	c.cutting.Store(!t.IsZero() && t.Before(c.since))
	return c.Conn.SetReadDeadline(c.deadline(t))
}

// SetWriteDeadline is as SetDeadline.
func (c *tcpConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.deadline(t)) }

func (c *tcpConn) deadline(t time.Time) time.Time {
	if c.refusal() == nil {
		return t
	}
	if end := c.since.Add(answerTime); t.IsZero() || t.After(end) {
		return end
	}
	return t
}

type connKey struct{}

// withConn and connOf carry what is known of a connection to its requests.
func withConn(ctx context.Context, c *connection) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connKey{}).(*connection)
	return c
}

// connContext finds the connection below TLS.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return withConn(ctx, connectionBelow(c))
}

func connectionBelow(c net.Conn) *connection {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return &c.(*tcpConn).connection //nolint:forcetypeassert // acceptor returns no other
}

// addrOf returns the zero Addr for what has none, such as a Unix socket.
func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
