package sse_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// server is an HTTP/1.1 server on connections in memory, for a synctest bubble.
type server struct {
	http   http.Server
	client *http.Client
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
}

// serve starts h, and ends it with the test.
func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return serveProtocols(t, h, protocols)
}

func serveProtocols(t *testing.T, h http.HandlerFunc, protocols *http.Protocols) *server {
	t.Helper()
	s := &server{conns: make(chan net.Conn), done: make(chan struct{})}
	s.http = http.Server{Handler: h, WriteTimeout: time.Second, ReadHeaderTimeout: time.Second, Protocols: protocols}
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case s.conns <- theirs:
			return ours, nil
		case <-s.done:
		case <-ctx.Done():
		}
		return nil, net.ErrClosed
	}}
	s.client = &http.Client{Transport: transport}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.http.Serve(s) })
	t.Cleanup(func() {
		_ = s.http.Close()
		_ = s.Close()
		transport.CloseIdleConnections()
		wg.Wait()
	})
	return s
}

func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *server) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (*server) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "pipe"} }
