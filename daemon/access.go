package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead"
	// Browsers open WebSockets on the HTTP/2 connection that they have; every
	// handler here understands that, which is why the switch is the daemon's.
	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// watched notes what is sent through it, and whether it is still in use.
type watched struct {
	http.ResponseWriter

	flight  *flight
	trusted []netip.Prefix
	taken   bool      // the connection is somebody else's: see take
	began   time.Time // of the request
	first   time.Duration
	status  int
	sent    int64
	events  uint64 // of a session
	body    body   // of the request
	served  observe.Served
	traced  *traced // nil unless it is recorded
}

// body counts what is read of a request's body, also by who forwards it after the
// response has ended.
type body struct {
	io.ReadCloser

	received atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.received.Add(int64(n))
	return n, err
}

func (w *watched) WriteHeader(status int) {
	// Interim responses come before the one that counts.
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status, w.first = status, time.Since(w.began)
		w.traced.begun(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status, w.first = http.StatusOK, time.Since(w.began)
		w.traced.begun(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// Unwrap lets an http.ResponseController reach the server's writer.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// watch counts and logs each request at its end: no body, no credential, no
// query, and no stream's id.
func (d *daemon) watch(trusted []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ww := &watched{ResponseWriter: w, flight: d.flights.begin(), trusted: trusted, began: time.Now()}
		if d.draining() && r.Header.Get("Upgrade") == "" {
			// On HTTP/2: GOAWAY, which ends no stream, a WebSocket's neither.
			w.Header().Set("Connection", "close")
		}
		if d.tracing != nil {
			d.trace(ww, r)
		}
		complete := false
		defer func() {
			if ww.taken {
				return
			}
			// Its record first: who waits for the last flight may exit.
			d.finished(d.flights.look(ww.flight), ww, r, complete)
			d.flights.end(ww.flight)
		}()
		inner := r.WithContext(context.WithValue(r.Context(), watchedKey{}, ww))
		if r.Body != http.NoBody {
			ww.body.ReadCloser, inner.Body = r.Body, &ww.body
		}
		next.ServeHTTP(ww, inner)
		complete = true
	})
}

func (d *daemon) finished(f flight, w *watched, r *http.Request, complete bool) {
	if w.status == 0 && complete {
		w.status = http.StatusOK
		if r.Header.Get("Upgrade") != "" {
			w.status = http.StatusSwitchingProtocols // written past us, on the connection itself
		}
	}
	if f.reason == "" && !complete {
		f.reason = "aborted"
		if r.Context().Err() != nil && !d.draining() { // which ends requests by its deadline
			f.reason = string(fairlead.Cancelled)
		}
	}
	d.record(context.WithoutCancel(r.Context()), f, &ended{
		method: r.Method, path: loggedPath(r.URL.Path), proto: r.Proto, client: proxy.ClientAddr(r, w.trusted),
		tls: r.TLS != nil, resumed: r.TLS != nil && r.TLS.DidResume,
		status: w.status, stream: isStream(w, r), first: w.first, took: time.Since(w.began), sent: w.sent, received: w.body.received.Load(),
		call: strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"), grpc: grpcStatus(w.Header()), events: w.events, span: w.traced.over(),
	})
}

// grpcStatus returns the status of a call as its number, "" of what is none: in its
// trailers, or in its header where there is nothing else.
func grpcStatus(h http.Header) string {
	const name = "Grpc-Status"
	for _, key := range []string{http.TrailerPrefix + name, name} {
		if v := h[key]; len(v) > 0 {
			if n, err := strconv.ParseUint(v[0], 10, 8); err == nil { // else it may be anything
				return strconv.FormatUint(n, 10)
			}
		}
	}
	return ""
}

// ended is what is counted and logged of a request that is over.
type ended struct {
	method, path, proto string
	client              netip.Addr
	tls, resumed        bool
	status              int
	stream              bool
	first, took         time.Duration // to the response's header, 0 for none, and to its end
	sent, received      int64
	call                bool          // of gRPC or gRPC-Web
	grpc                string        // its status, "" of what is none
	events              uint64        // given to a reader, where that is known
	span                *observe.Span // nil when there is none
}

func (d *daemon) count(f flight, e *ended) {
	d.metrics.Request(observe.Request{
		Route: f.route, Method: e.method, Status: e.status, Stream: e.stream, Duration: e.took, FirstByte: e.first, Sent: e.sent,
		Received: e.received, Span: e.span,
	})
	if e.call {
		if upstream, ok := d.site.Load().upstreams[f.route]; ok {
			d.metrics.Forwarded(f.route, upstream, e.grpc, e.took)
		}
	}
}

func (d *daemon) record(ctx context.Context, f flight, e *ended) {
	if d.counts {
		d.count(f, e)
	}
	if e.span != nil {
		e.span.End(d.response(f, e))
	}
	share := d.site.Load().logs.of(f.route, e.path)
	bad := faulty(&f, e)
	if !bad && !share.next() {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", logged(e.method, maxMethod)), slog.String("path", logged(e.path, maxPath)), slog.String("route", f.route),
		slog.Int("status", e.status), slog.Float64("duration_seconds", e.took.Seconds()), slog.Int64("bytes", e.sent),
		slog.String("client", e.client.String()), slog.String("proto", e.proto),
	}
	if e.tls {
		attrs = append(attrs, slog.Bool("resumed", e.resumed))
	}
	if e.grpc != "" {
		attrs = append(attrs, slog.String("grpc_status", e.grpc))
	}
	if f.reason != "" {
		attrs = append(attrs, slog.String("reason", f.reason))
	}
	if f.err != nil {
		attrs = append(attrs, slog.String("error", loggedCause(f.err)))
	}
	if e.span != nil {
		attrs = append(attrs, slog.String("trace_id", e.span.TraceID()))
	}
	if !bad && share.sampled {
		attrs = append(attrs, slog.Float64("sample", share.share))
	}
	d.access.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// faulty reports whether more is to be said than that a client was served, or left.
// Its record is always written.
func faulty(f *flight, e *ended) bool {
	switch fairlead.Code(f.reason) {
	case "", fairlead.Cancelled, fairlead.Draining:
	default:
		return true
	}
	const ok, cancelled = "0", "1" // statuses of gRPC
	return e.status >= 500 || f.err != nil || e.grpc != "" && e.grpc != ok && e.grpc != cancelled
}

func isStream(w *watched, r *http.Request) bool {
	h := w.Header()
	return isCall(h) || w.status == http.StatusSwitchingProtocols || h.Get("Preference-Applied") != "" ||
		strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") ||
		w.status == http.StatusOK && websocket.IsHandshake(r) // of HTTP/2 and HTTP/3
}

// What of a request's line is logged, in bytes: a record has a bound, too.
const (
	maxMethod = 64
	maxPath   = 2 << 10
)

// logged cuts what a client has said.
func logged(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// loggedPath leaves the id out of a captured stream's path, however that is
// spelled, or misspelt.
func loggedPath(path string) string {
	switch clean := routePath(strings.ToLower(strings.ReplaceAll(path, `\`, "/"))); {
	case strings.HasPrefix(clean, ownStreams+"/"):
		return ownStreams + "/…"
	case strings.HasPrefix(clean, ownPaths) && clean != ownPaths && clean != ownStreams:
		return ownPaths + "/…"
	}
	return path
}

// loggedCause is what of err cannot have come from the upstream: our own words,
// and those of the operating system. The errors of parsers quote what they
// read, which may be a secret.
func loggedCause(err error) string {
	parts := []string{fairlead.AsError(err).Error()}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		parts = append(parts, op.Error())
	} else if no, ok := errors.AsType[syscall.Errno](err); ok {
		parts = append(parts, no.Error())
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF} {
		if errors.Is(err, known) {
			parts = append(parts, known.Error())
		}
	}
	return strings.Join(parts, ": ")
}

// noRoute is the label of requests that no route took.
const noRoute = "none"

// flight is a request or stream being served, and what is logged about it.
type flight struct {
	route  string // pattern
	reason string // why it ended, where that is not plain from the status
	err    error  // what went wrong, for the operator
}

// watchedKey is where the context of a request has what watches it.
type watchedKey struct{}

// flights are what is being served: as many as there are connections and
// HTTP/2 streams. It guards the fields of each flight.
type flights struct {
	mu   sync.Mutex
	all  map[*flight]struct{}
	held map[string]int  // by route: those of which only that is kept
	last time.Time       // when one began or ended
	idle []chan struct{} // closed at the next moment without any
}

func (f *flights) begin() *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*flight]struct{})
	}
	f.last = time.Now()
	one := &flight{route: noRoute}
	f.all[one] = struct{}{}
	return one
}

// look returns what is known of one.
func (f *flights) look(one *flight) flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *one
}

func (f *flights) end(one *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, one)
	f.ended()
}

// hold keeps one in flight, until drop, and returns its route.
func (f *flights) hold(one *flight) (route string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = make(map[string]int)
	}
	delete(f.all, one)
	f.held[one.route]++
	return one.route
}

func (f *flights) drop(route string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[route]--; f.held[route] == 0 {
		delete(f.held, route)
	}
	f.ended()
}

// ended is called when one was. f.mu is held.
func (f *flights) ended() {
	f.last = time.Now()
	if f.none() {
		for _, c := range f.idle {
			close(c)
		}
		f.idle = nil
	}
}

// none reports whether nothing is in flight. f.mu is held.
func (f *flights) none() bool { return len(f.all) == 0 && len(f.held) == 0 }

// routed notes which route the request takes.
func (f *flights) routed(r *http.Request, route string) {
	f.note(r.Context(), func(one *flight) { one.route = route })
}

// because notes why the request ended.
func (f *flights) because(r *http.Request, reason string, err error) {
	f.note(r.Context(), func(one *flight) { one.reason, one.err = reason, err })
}

func (f *flights) note(ctx context.Context, set func(*flight)) {
	if w, ok := ctx.Value(watchedKey{}).(*watched); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		set(w.flight)
	}
}

// quiet reports whether nothing has been in flight for a while.
func (f *flights) quiet(while time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.none() && time.Since(f.last) >= while
}

// byRoute returns how many are in flight.
func (f *flights) byRoute() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := make(map[string]int)
	maps.Copy(n, f.held)
	for one := range f.all {
		n[one.route]++
	}
	return n
}

// wait returns when nothing is in flight, or when ctx ends, with its error.
func (f *flights) wait(ctx context.Context) error {
	f.mu.Lock()
	if f.none() {
		f.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	f.idle = append(f.idle, idle)
	f.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
