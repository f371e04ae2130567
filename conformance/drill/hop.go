package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// hop is a proxy between Fairlead and its upstream. As long as buffers is not set it
// passes each piece on as it comes.
type hop struct {
	to      *backend
	over    *http.Transport
	server  *http.Server
	work    sync.WaitGroup
	buffers atomic.Bool
}

// hopBuffer is what it collects before it passes that on, in bytes: some thirty of
// the backend's events. Proxies that buffer collect 4 KiB and more.
const hopBuffer = 1 << 10

// through puts a hop before the upstream.
func through(_ context.Context, s *site) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return err
	}
	h := &hop{to: s.backends[0], over: &http.Transport{DisableCompression: true}}
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: patience}
	h.work.Go(func() { _ = h.server.Serve(l) })
	s.hop, s.ends = h, append(s.ends, h.close)
	s.endpoints = []string{"http://" + l.Addr().String()}
	return nil
}

func (h *hop) close() {
	_ = h.server.Close() // with all connections
	h.work.Wait()
	h.over.CloseIdleConnections()
}

// ServeHTTP forwards a request.
func (h *hop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", h.to.scheme, h.to.listener.Addr().String()
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
		if !h.buffers.Load() || err != nil {
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
