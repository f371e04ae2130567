package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hop is a proxy between Fairlead and its upstream, or its publisher. As long as
// buffers is not set it passes each piece on as it comes.
type hop struct {
	to      func() string // a base URL
	bunches bool          // it holds requests and not responses
	url     string        // its own
	over    *http.Transport
	server  *http.Server
	work    sync.WaitGroup
	buffers atomic.Bool
}

// hopBuffer is what it collects before it passes that on, in bytes: some thirty of
// the backend's events. Proxies that buffer collect 4 KiB and more.
const hopBuffer = 1 << 10

// bunch is how far apart a hop passes on the requests that it holds.
const bunch = 1500 * time.Millisecond

// through puts a hop before the upstream.
func through(_ context.Context, s *site) error {
	to := s.endpoints[0]
	if err := s.openHop(&hop{to: func() string { return to }}); err != nil {
		return err
	}
	s.endpoints = []string{s.hop.url}
	return nil
}

// between puts a hop between the publisher and Fairlead.
func between(_ context.Context, s *site) error {
	return s.openHop(&hop{to: func() string { return s.http }, bunches: true})
}

func (s *site) openHop(h *hop) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return err
	}
	h.over, h.url = &http.Transport{DisableCompression: true}, "http://"+l.Addr().String()
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: patience}
	h.work.Go(func() { _ = h.server.Serve(l) })
	s.hop, s.ends = h, append(s.ends, h.close)
	return nil
}

// buffer has the hop buffer.
func buffer(_ context.Context, s *site) error {
	s.hop.buffers.Store(true)
	return nil
}

func (h *hop) close() {
	_ = h.server.Close() // with all connections
	h.work.Wait()
	h.over.CloseIdleConnections()
}

// ServeHTTP forwards a request.
func (h *hop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.bunches && h.buffers.Load() {
		_ = pause(r.Context(), bunch-time.Duration(time.Now().UnixNano())%bunch) // who has gone is not forwarded
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme = "", "http"
	out.URL.Host = strings.TrimPrefix(h.to(), "http://")
	res, err := h.over.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	pass := http.NewResponseController(w)
	_ = pass.Flush()
	buffer := bufio.NewWriterSize(flushing{w, pass}, hopBuffer)
	for piece := make([]byte, hopBuffer); ; {
		n, err := res.Body.Read(piece)
		_, _ = buffer.Write(piece[:n])
		if h.bunches || !h.buffers.Load() || err != nil {
			_ = buffer.Flush() // who has gone ends the request
		}
		if err != nil {
			return
		}
	}
}

// flushing passes on at once what is written to it.
type flushing struct {
	io.Writer

	pass *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.pass.Flush()
	}
	return n, err
}
