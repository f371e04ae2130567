package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// newTwin returns what a Go engineer writes: ReverseProxy, backends in turn,
// and a transport that keeps enough idle connections.
func newTwin(backends []string) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			i := (turn.Add(1) - 1) % uint64(len(backends))
			r.SetURL(&url.URL{Scheme: "http", Host: backends[i]})
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			DisableCompression:  true,
			MaxIdleConns:        1024,
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     90 * time.Second,
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// serveTwin serves the twin until ctx ends.
func serveTwin(ctx context.Context, address string, backends []string) error {
	server := &http.Server{Addr: address, Handler: newTwin(backends), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("twin: %w", err)
	}
	return nil
}
