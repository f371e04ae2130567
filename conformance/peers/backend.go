package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// backend is an API behind the proxies.
type backend struct {
	address string
	opened  atomic.Int64 // connections

	server *http.Server
	served sync.WaitGroup
}

// newBackend serves handler until close. Connections that are idle for longer
// than idle are closed; 0 is never.
func newBackend(ctx context.Context, handler http.Handler, idle time.Duration) (*backend, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b := &backend{address: l.Addr().String()}
	b.server = &http.Server{
		Handler: handler, IdleTimeout: idle, ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				b.opened.Add(1)
			}
		},
	}
	if idle == 0 {
		b.server.IdleTimeout = time.Hour // zero would be ReadHeaderTimeout's
	}
	b.served.Go(func() {
		if err := b.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // a listener on loopback does not fail
		}
	})
	return b, nil
}

// close ends the backend and its connections, as a process that is killed.
func (b *backend) close() {
	_ = b.server.Close()
	b.served.Wait()
}
