// Package memnet is a network in memory, for tests under simulated time.
//
// A goroutine that waits for a real socket keeps the clock of a testing/synctest
// bubble from moving; one that waits for a connection of this package does not.
// Serve runs an HTTP server on such a network for as long as a test takes:
//
//	s := memnet.Serve(t, &http.Server{Handler: h}, nil)
//	resp, err := s.Client.Get("http://any.test/")
//
// A connection is a net.Pipe: it holds no byte, so that a write waits for its
// reader, and honours deadlines.
package memnet

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Network is a listener and the way to it. Its methods are safe for concurrent
// use. Make one with New, inside the bubble that uses it.
type Network struct {
	conns chan net.Conn // unbuffered: who dials waits for Accept
	done  chan struct{}
	once  sync.Once
}

// New returns a network on which nobody listens yet: Dial waits for Accept.
func New() *Network {
	return &Network{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Dial connects to whoever accepts, under any network and address, as
// http.Transport's DialContext does. It fails with net.ErrClosed once the
// network is closed, and with the context's cause.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case n.conns <- theirs:
		return ours, nil
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept returns the other end of a Dial, or net.ErrClosed after Close.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Close ends every Accept and Dial, and leaves the connections alone. It may be
// called again.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

// Addr returns an address that is the same for every network.
func (*Network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "pipe"} }

// Server is an HTTP server on a network of its own.
type Server struct {
	*Network

	// Client sends every request to the server, whatever host its URL names.
	Client *http.Client
}

// Serve runs s until the end of the test, when it breaks the connections and
// waits for the accept loop. Client uses transport, of which Serve sets
// DialContext; nil means a zero http.Transport.
func Serve(t testing.TB, s *http.Server, transport *http.Transport) *Server {
	t.Helper()
	if transport == nil {
		transport = new(http.Transport)
	}
	n := New()
	transport.DialContext = n.Dial
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(n) })
	t.Cleanup(func() {
		_ = s.Close()
		_ = n.Close() // which s does not when it never came to serve
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return &Server{Network: n, Client: &http.Client{Transport: transport}}
}
