package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// backend is an upstream on a listener of its own. What is wrong with it can be
// changed while it runs.
type backend struct {
	server   *http.Server
	listener net.Listener
	scheme   string
	work     sync.WaitGroup

	stale  atomic.Bool // it closes connections on which it has answered, as it is asked again
	goaway atomic.Bool // it ends each HTTP/2 connection after some requests
	slow   atomic.Bool // it takes a second for each request
}

// pace is how far apart the events of a stream are.
const pace = 40 * time.Millisecond

// newBackend listens at an address.
func newBackend(address string, h2 bool) (*backend, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // at once
	if err != nil {
		return nil, err
	}
	b := &backend{listener: l, scheme: "http"}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: patience, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, servedKey{}, new(atomic.Int64))
	}}
	if h2 {
		b.scheme = "h2c"
		b.server.Protocols = new(http.Protocols)
		b.server.Protocols.SetUnencryptedHTTP2(true)
	}
	b.work.Go(func() { _ = b.server.Serve(l) })
	return b, nil
}

func (b *backend) url() string { return b.scheme + "://" + b.listener.Addr().String() }

// close ends it with all of its connections, as a crash does.
func (b *backend) close() {
	_ = b.server.Close()
	b.work.Wait()
}

// servedKey is where a connection's context counts its requests.
type servedKey struct{}

// ServeHTTP answers /stream with events and everything else with a line.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	served := r.Context().Value(servedKey{}).(*atomic.Int64).Add(1)
	if b.stale.Load() && served%8 == 0 {
		b.hangUp(w)
		return
	}
	if b.goaway.Load() && served%10 == 0 {
		w.Header().Set("Connection", "close") // over HTTP/2: GOAWAY
	}
	if b.slow.Load() {
		_ = pause(r.Context(), time.Second) // who has left gets nothing
	}
	if r.URL.Path != "/stream" {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, "well")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for i := 0; ; i++ {
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
		if out.Flush() != nil || pause(r.Context(), pace) != nil {
			return
		}
	}
}

// hangUp closes the connection of a request without an answer, as a server whose
// idle timeout ends at that moment.
func (b *backend) hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // it is of HTTP/1.1
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset, for the request has been read by nobody
	_ = conn.Close()
}
