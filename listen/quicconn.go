package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A client that was asked to go does so by itself when it has its answers. From
// one that does not, the connection is taken this long after its last request:
// time to send the last packets of the answer again if they were lost.
const linger = 2 * time.Second

type quicConnKey struct{}

// quicConn is a connection of HTTP/3. It has an http3.Server of its own, whose
// Shutdown is a GOAWAY to this client alone.
type quicConn struct {
	connection

	server  *quicServer
	conn    *quic.Conn
	http    http3.Server
	from    net.Addr
	unshake func() // the handshake is over, one way or another

	lent uint64 // of the server's windowBudget; the server's mu guards it

	mu    sync.Mutex
	open  bool // between opened and closed, when goroutines may start
	going bool // the client was asked to go
	busy  int  // requests that are being served
	idle  *time.Timer
	age   *time.Timer // nil without a greatest age
}

func (c *quicConn) remote() string { return c.from.String() }

var errRefused = errors.New("listen: QUIC: beyond a limit")

// admit lets a connection pass the gate before its handshake. One that is
// refused here gets CONNECTION_REFUSED, and its client tries TCP, where it is
// told why.
func (q *quicServer) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	c := &quicConn{server: q}
	c.self = c
	c.from = info.RemoteAddr
	c.connection.begin(q.server.cfg.Timeouts.MaxAge)
	if admitted := q.server.gate.admit(&c.connection, addrOf(info.RemoteAddr)); !admitted || c.refusal() != nil {
		c.leave()
		c.tell(&q.server.gate.observer, 0, RefusedByLimit)
		return nil, errRefused
	}
	q.shaking.Add(1)
	c.unshake = sync.OnceFunc(func() { q.shaking.Add(-1) })
	context.AfterFunc(ctx, func() {
		c.unshake()
		if protocol, had := c.leave(); had {
			c.tell(&q.server.gate.observer, protocol, c.reason(context.Cause(ctx)))
		}
	})
	return context.WithValue(ctx, quicConnKey{}, c), nil
}

// serve answers the requests of a connection until it ends.
func (c *quicConn) serve(conn *quic.Conn) {
	q := c.server
	c.conn = conn
	c.end = func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "") }
	q.serving.Go(func() {
		select {
		case <-conn.HandshakeComplete():
			c.connection.shaken.Store(int64(time.Since(c.since)))
		case <-conn.Context().Done():
		}
		c.unshake()
	})
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	defer context.AfterFunc(q.server.cfg.BaseContext, cancel)()
	c.http = http3.Server{
		Handler:        http.HandlerFunc(c.serveHTTP),
		MaxHeaderBytes: q.server.cfg.Limits.HeaderBytes,
		// Called when Shutdown of the server has something to shut down.
		ConnContext: func(own context.Context, _ *quic.Conn) context.Context {
			c.opened()
			return withConn(withBoth{Context: ctx, own: own, base: q.server.cfg.BaseContext}, &c.connection)
		},
	}
	_ = c.http.ServeQUICConn(conn) // how a client left is not an error of the server's
	c.closed()
	_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

// withBoth has the values of the connection's context and of the server's.
type withBoth struct {
	context.Context //nolint:containedctx // it is a context

	own, base context.Context
}

func (c withBoth) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	if v := c.own.Value(key); v != nil {
		return v
	}
	return c.base.Value(key)
}

// opened and closed are the ends of a connection's time in q.conns.
func (c *quicConn) opened() {
	c.mu.Lock()
	c.open = true
	c.idle = time.AfterFunc(time.Hour, c.expire)
	c.rest()
	if !c.until.IsZero() {
		c.age = time.AfterFunc(time.Until(c.until), func() {
			c.note(old)
			c.retire()
		})
	}
	c.mu.Unlock()

	q := c.server
	q.mu.Lock()
	q.conns[c.conn] = c
	draining := q.draining
	q.mu.Unlock()
	if draining {
		c.retire()
	}
}

func (c *quicConn) closed() {
	q := c.server
	q.mu.Lock()
	delete(q.conns, c.conn)
	q.lent -= c.lent
	q.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	if c.idle != nil {
		c.idle.Stop()
	}
	if c.age != nil {
		c.age.Stop()
	}
}

// retire asks the client to go: requests that it has sent are answered, later
// ones it sends on another connection.
func (c *quicConn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.going {
		return
	}
	c.going = true
	// The context is the server's: Shutdown returns when the connection ends.
	c.server.serving.Go(func() { _ = c.http.Shutdown(c.server.life) })
	if c.busy == 0 {
		c.rest()
	}
}

// rest begins the time that a connection has without a request. c.mu is held.
func (c *quicConn) rest() {
	c.idle.Stop()
	if c.going {
		c.idle.Reset(linger)
	} else if d := c.server.server.cfg.Timeouts.Idle; d > 0 {
		c.idle.Reset(d)
	}
}

// expire ends that time: the client is asked to go, so that a request which it
// is just sending is not lost, and if it was asked before, made to.
func (c *quicConn) expire() {
	c.mu.Lock()
	if c.busy > 0 || !c.open {
		c.mu.Unlock()
		return
	}
	if c.going {
		c.server.serving.Go(func() {
			_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		})
	}
	c.mu.Unlock()
	c.retire()
}

// serving adds a request, or takes one away. There are never more than
// Limits.Streams: quic-go gives no room for another stream before the handler of
// one that was reset has noticed, which the rapid reset of HTTP/2 exploits.
func (c *quicConn) serving(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += n
	if c.busy == 0 {
		c.rest()
	} else {
		c.idle.Stop()
	}
}

// serveHTTP makes a request and its response what net/http's server would make
// them.
func (c *quicConn) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c.serving(1)
	defer c.serving(-1)
	defer c.judge(r, time.Now())
	defer c.recovered()
	if !c.settle(r) || !c.extended(w, r) {
		return
	}
	endBody(w, r)
	qw := &quicWriter{ResponseWriter: w, conn: c, head: r.Method == http.MethodHead}
	c.server.handler.ServeHTTP(qw, r)
	qw.finish()
}

// recovered logs the panic of a handler where the server logs, and aborts the
// stream.
func (c *quicConn) recovered() {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
		c.server.server.cfg.Logger.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}
