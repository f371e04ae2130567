package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// exchange is one request and its response. It is the ResponseWriter and the
// RoundTripper that ReverseProxy sees, and so knows what passed and what
// failed.
type exchange struct {
	h       *Handler
	w       http.ResponseWriter
	in      *http.Request
	outer   http.Header     // set by handlers around ours before we began
	upgrade string          // the protocols asked for; "" for none
	key     string          // of the handshake upstream, of a WebSocket that came by an extended CONNECT; else ""
	upload  *upload         // nil when the request has no body
	due     context.Context // of a gRPC call that has a deadline, with it; else nil
	begun   atomic.Bool     // status is on its way
	stall   stall
	held    int // bytes that were written after the last flush; the server keeps no more of them than serverBuffer
	transfer

	started  time.Time
	wait     time.Duration
	status   int
	err      error
	broken   bool           // err came after the header: nothing may look like an end
	switched *http.Response // the 101, while it is on its way to handleError
}

// errNoStatus is of a response whose status is none that there could be (RFC 9110 §15).
var errNoStatus = errors.New("proxy: malformed status of the response")

// errSwitched carries a 101 past ReverseProxy, which would relay it itself.
var errSwitched = errors.New("proxy: switching protocols")

// Header is the client's.
func (x *exchange) Header() http.Header { return x.w.Header() }

// Unwrap lets an http.ResponseController reach the server's writer.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// serverBuffer is how much of a response net/http keeps until it is flushed.
const serverBuffer = 4 << 10

// Write notes a failure as the client's.
func (x *exchange) Write(p []byte) (int, error) {
	x.stall.begin(x.toClient.begin(x.held + len(p)))
	n, err := x.w.Write(p)
	x.stall.end()
	x.held = min(x.held+n, serverBuffer)
	x.toClient.end(n, x.held)
	if err != nil && x.err == nil {
		x.cut(fairlead.Cancelled, "write to the client", err)
	}
	return n, err
}

// FlushError sends what the server has buffered. It may run on ReverseProxy's
// timer, so that a failure is left for the next write to note.
func (x *exchange) FlushError() error {
	x.stall.begin(x.toClient.begin(x.held))
	err := x.stall.w.Flush()
	x.stall.end()
	x.held = 0
	x.toClient.end(0, 0)
	return err
}

// finish sends the end of a response of known length, which net/http would do
// after us and without a deadline.
func (x *exchange) finish() {
	if x.held == 0 || x.err != nil || x.in.ProtoMajor != 1 || x.w.Header().Get("Content-Length") == "" {
		return
	}
	if err := x.FlushError(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		x.cut(fairlead.Cancelled, "write to the client", err)
	}
}

// WriteHeader passes a status on: an interim one to those who know them
// (RFC 9110 §15.2) and without hop-by-hop fields, a final one with the fields
// that ReverseProxy's clearing after an interim one took from outer handlers.
func (x *exchange) WriteHeader(status int) {
	h := x.w.Header()
	if status < 200 {
		// The server sends 100 itself, when the body is first read. A 101 that comes
		// here is HTTP/2's, which has none (RFC 9113 §8.6): it would end the header.
		if status != http.StatusContinue && status != http.StatusSwitchingProtocols && x.in.ProtoAtLeast(1, 1) {
			removeHopByHop(h)
			x.w.WriteHeader(status)
		}
		return
	}
	x.addOuter(h)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess one
	}
	x.status = status
	x.begun.Store(true)
	x.w.WriteHeader(status)
}

// addOuter gives h the fields of outer handlers that it lacks.
func (x *exchange) addOuter(h http.Header) {
	for k, v := range x.outer {
		if _, ok := h[k]; !ok {
			h[k] = v
		}
	}
}

// rewrite turns the copy of the client's request into the upstream's.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	cfg, out := &x.h.cfg, pr.Out
	out.URL.RawQuery = pr.In.URL.RawQuery // as it is: nothing here reads it
	pr.SetURL(cfg.Target)
	if cfg.PreserveHost {
		out.Host = pr.In.Host
	}
	setForwarded(out.Header, pr.In, cfg.TrustedProxies)
	out.Header.Del("Upgrade")
	out.Header.Del("Connection")
	if x.upgrade != "" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", x.upgrade)
	}
	if out.Body == nil {
		return
	}
	if out.ContentLength < 0 {
		// Announced names now; the values, and names that were not announced,
		// when the body has been read.
		trailer := make(http.Header, len(pr.In.Trailer))
		for name := range pr.In.Trailer {
			if !barredFromTrailer(name) {
				trailer[name] = nil
			}
		}
		out.Trailer = trailer
	}
	x.upload = &upload{ReadCloser: out.Body, in: pr.In, trailer: out.Trailer, flow: &x.toUpstream}
	out.Body = x.upload
}

// RoundTrip sends the request and watches the response's body.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	res, err := x.h.cfg.Transport.RoundTrip(out)
	if x.h.cfg.Observe != nil {
		x.wait = time.Since(x.started)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 100 || res.StatusCode > 999 { // net/http's server would panic
		_ = res.Body.Close()
		return nil, errNoStatus
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.switched = res
		return nil, errSwitched
	}
	if x.key != "" && res.StatusCode < 300 {
		_ = res.Body.Close()
		return nil, errNoSwitch
	}
	dropBarred(res.Trailer)
	if res.ContentLength > 0 && isPlainCall(x.in) {
		// Its end is not where its length says, but where its status is.
		res.ContentLength = -1
		res.Header.Del("Content-Length")
	}
	res.Body = &download{ReadCloser: res.Body, x: x, res: res}
	x.list(kindBody)
	return res, nil
}

// list shows the exchange to [Handler.Transfers]; ServeHTTP takes it back.
func (x *exchange) list(kind string) {
	x.kind, x.remote, x.since = kind, x.in.RemoteAddr, time.Now()
	x.h.transfers.add(&x.transfer)
}

// handleError is called by ReverseProxy when there is no response to copy.
func (x *exchange) handleError(_ http.ResponseWriter, out *http.Request, err error) {
	if errors.Is(err, errSwitched) {
		err = x.switchProtocols(out)
	}
	if err != nil {
		x.fail(err)
	}
}

// fail answers a request that will get no response from the upstream.
func (x *exchange) fail(err error) {
	if !x.started.IsZero() && x.wait == 0 {
		x.wait = time.Since(x.started)
	}
	if x.err == nil {
		x.err = x.explain(err)
	}
	if errors.Is(err, http.ErrAbortHandler) || fairlead.AsError(x.err).Code == fairlead.Cancelled {
		// Returning would send an empty 200 to whoever may still listen.
		panic(http.ErrAbortHandler)
	}
	answer := x.h.cfg.OnError
	if answer == nil {
		answer = Problem
	}
	answer(x, x.in, x.err)
}

// cut notes why the response ends before its end.
func (x *exchange) cut(code fairlead.Code, what string, err error) {
	x.broken = true
	x.err = fmt.Errorf("proxy: %s: %w: %w", what, fairlead.Errorf(code, "%s", code.Title()), err)
}

func (x *exchange) observe() {
	x.h.cfg.Observe(Outcome{
		Request: x.in, Status: x.status, Wait: x.wait, Total: time.Since(x.started), Err: x.err,
	})
}

// download is the upstream's body. It remembers how it broke.
type download struct {
	io.ReadCloser
	x   *exchange
	res *http.Response
}

// Close closes the body. What ReverseProxy takes of the trailers it takes after that.
func (d *download) Close() error {
	err := d.ReadCloser.Close()
	dropBarred(d.res.Trailer)
	return err
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && d.x.err == nil {
		switch {
		case errors.Is(d.x.in.Context().Err(), context.Canceled):
			d.x.cut(fairlead.Cancelled, "the client went away", err)
		case d.x.due != nil && d.x.due.Err() != nil:
			d.x.cut(fairlead.DeadlineExceeded, "read the upstream's body", err)
		default:
			d.x.cut(fairlead.Fault, "read the upstream's body", err)
		}
		if d.endCall() {
			err = io.EOF
		}
	}
	return n, err
}
