package listen

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// connection is what the server knows of a connection, over TCP or QUIC.
type connection struct {
	since time.Time
	why   *Refusal
}

func (c *connection) refusal() *Refusal { return c.why }

// acceptor hands the connections of a listener to net/http.
type acceptor struct {
	net.Listener

	server *Server
}

// Accept returns the next connection, which may be one to refuse.
func (a *acceptor) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	why, leave := a.server.gate.enter(addrOf(c.RemoteAddr()))
	return &tcpConn{Conn: c, connection: connection{since: time.Now(), why: why}, leave: sync.OnceFunc(leave)}, nil
}

// tcpConn is a connection as net/http sees it.
type tcpConn struct {
	net.Conn
	connection

	leave func()
}

// Close gives the connection's place back.
func (c *tcpConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// connContext finds the connection below TLS.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*tcpConn); ok {
		return withConn(ctx, &t.connection)
	}
	return ctx
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
