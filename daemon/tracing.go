package daemon

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/upstream"
)

// Tracing says where spans go, and how many are made.
type Tracing struct {
	Endpoint   string `yaml:"endpoint"`   // URL of a collector, OTLP over HTTP; "" turns tracing off
	Sample     Share  `yaml:"sample"`     // of the traces that begin here
	Trust      bool   `yaml:"trust"`      // every client's trace goes on here, not only those of trusted proxies
	Deliveries int    `yaml:"deliveries"` // spans of events given to readers, a second
}

// openTracing returns nil when tracing is off.
func (d *daemon) openTracing(cfg *Tracing) (*observe.Tracing, error) {
	if cfg.Endpoint == "" {
		return nil, nil
	}
	return observe.NewTracing(observe.TracingConfig{
		Endpoint: collectorURL(cfg.Endpoint), Sample: float64(cfg.Sample), Trust: cfg.Trust, Deliveries: cfg.Deliveries, Version: Version(),
		Failed: func(err error) {
			d.log.Warn("spans were not handed over, and are lost; this is told once a minute", "error", err)
		},
	})
}

// flushSpans is how long the last spans may take to be handed over, unless the
// drain's deadline comes first, and how long they may in any case.
const (
	flushSpans      = 5 * time.Second
	flushSpansLeast = time.Second
)

// flushTime is how long the last spans may take from now on.
func (d *daemon) flushTime() time.Duration {
	left := flushSpans
	if end := d.deadline.Load(); end != nil {
		left = min(left, time.Until(*end))
	}
	return max(left, flushSpansLeast)
}

// closeTracing hands the last spans over.
func (d *daemon) closeTracing() {
	ctx, cancel := context.WithTimeout(context.Background(), d.flushTime())
	defer cancel()
	d.tracing.Close(ctx)
}

// traced is a watched request that is recorded.
type traced struct {
	*observe.Span

	d *daemon
	w *watched
	r *http.Request

	mu    sync.Mutex
	long  *time.Timer // that establishes what goes on for so long
	ended bool        // nothing is established any more
}

// longResponse is after what time a response counts as a stream that does not say so:
// then its span ends, so that it is seen.
const longResponse = 10 * time.Second

// trace begins the span of a request.
func (d *daemon) trace(w *watched, r *http.Request) {
	peer := remoteAddr(r.RemoteAddr)
	served := d.tracing.Serve(r, slices.ContainsFunc(w.trusted, containing(peer)))
	if r.URL.Path != fairleadv1connect.TopicsSessionProcedure { // each of whose publishes stands for itself, as on a WebSocket
		w.served = served
	}
	if served.Span == nil {
		return
	}
	t := &traced{Span: served.Span, d: d, w: w, r: r}
	w.traced = t
	if r.TLS != nil {
		if c := d.traced.of(r.RemoteAddr, r.ProtoMajor); c != nil {
			t.Span.On(c)
		}
	}
	if r.ProtoMajor == 1 {
		w.ResponseWriter = &hijacked{w.ResponseWriter, t}
	}
}

// hijacked notices when a connection is taken over, after which nothing comes past
// what watches the request.
type hijacked struct {
	http.ResponseWriter

	t *traced
}

// Unwrap lets an http.ResponseController reach the server's writer.
func (h *hijacked) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack gives the connection away.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		status := http.StatusOK
		if h.t.r.Header.Get("Upgrade") != "" {
			status = http.StatusSwitchingProtocols
		}
		h.t.establish(h.t.so(status))
	}
	return conn, rw, err
}

// begun is called with the response's status.
func (t *traced) begun(status int) {
	if t == nil || status < 200 {
		return
	}
	h := t.w.Header()
	unknown := isCall(h) && !ownStream(t.r.URL.Path)
	so := t.so(status)
	if waited := h.Get("Preference-Applied") != ""; unknown || waited || !isStream(t.w, t.r) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.long = time.AfterFunc(longResponse, func() { t.establish(so) })
		return
	}
	t.establish(so)
}

// so is what the header tells, on the goroutine of its handler, who may go on to write
// trailers to it.
func (t *traced) so(status int) *ended {
	return &ended{
		path: loggedPath(t.r.URL.Path), client: proxy.ClientAddr(t.r, t.w.trusted), status: status, grpc: grpcStatus(t.w.Header()),
	}
}

// isCall reports whether a response is that of a call, which may be a stream or not:
// only who has the schema knows.
func isCall(h http.Header) bool {
	kind := h.Get("Content-Type")
	return strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+")
}

// ownStream reports whether the path is of a call that reads for as long as it likes.
func ownStream(path string) bool {
	return path == fairleadv1connect.TopicsSubscribeProcedure || path == fairleadv1connect.TopicsSessionProcedure
}

// establish ends the span of what goes on.
func (t *traced) establish(so *ended) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.Span.Establish(t.d.response(t.d.flights.look(t.w.flight), so))
	}
}

// over ends what was begun beside the request, and returns its span; nil: none.
func (t *traced) over() *observe.Span {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.long != nil {
		t.long.Stop()
	}
	return t.Span
}

// response is what a span has of a request.
func (d *daemon) response(f flight, e *ended) observe.Response {
	r := observe.Response{
		Path: e.path, Status: e.status, GRPC: e.grpc, Reason: f.reason, Sent: e.sent, Events: e.events, Took: e.took,
	}
	if f.route != noRoute {
		r.Route = f.route
	}
	if e.client.IsValid() {
		r.Client = e.client.String()
	}
	if s := d.site.Load(); e.status == http.StatusOK && s.rpc != nil && s.rpc.Serves(e.path) {
		r.Procedure = e.path[1:]
	}
	return r
}

// detachedTrace is a detached request whose span is recorded.
type detachedTrace struct {
	*detached

	span *observe.Span
}

// Ended writes the record, and makes the span of the end.
func (t *detachedTrace) Ended(why deliver.Ended) { t.ended(why, t.span) }

// tracer makes the spans of topics.
func (d *daemon) tracer() deliver.Tracer {
	if d.tracing == nil {
		return deliver.Tracer{}
	}
	return deliver.Tracer{
		Publish: func(ctx context.Context, name string, events []fairlead.Event) func(int, fairlead.Code) {
			var in observe.Served
			if w, ok := ctx.Value(watchedKey{}).(*watched); ok {
				in = w.served
			}
			return d.tracing.Publish(in, d.site.Load().pattern(name), events)
		},
		Delivered: func(name, transport string, e *fairlead.Event) {
			d.tracing.Delivered(d.site.Load().pattern, name, transport, e)
		},
	}
}

// attempts makes the spans of attempts at an upstream; nil when tracing is off.
func (d *daemon) attempts(pool string) func(context.Context) func(*upstream.Attempt) func(int, error) {
	if d.tracing == nil {
		return nil
	}
	return func(ctx context.Context) func(*upstream.Attempt) func(int, error) {
		w, ok := ctx.Value(watchedKey{}).(*watched)
		if !ok || w.traced == nil {
			return nil
		}
		return func(a *upstream.Attempt) func(int, error) { return attempt(w.traced.Span, pool, a) }
	}
}

// attempt makes the span of one.
func attempt(of *observe.Span, pool string, a *upstream.Attempt) func(int, error) {
	header := http.Header{} // of nothing that is sent
	if a.Out != nil {
		a.Out.Header = a.Out.Header.Clone()
		header = a.Out.Header
	}
	done := of.Attempt(header, &observe.Attempt{
		Pool: pool, Endpoint: a.Endpoint, Method: a.Request.Method, Number: a.Number, Asked: a.Asked, Waited: a.Waited,
		Sent: a.Out != nil, HTTP2: a.HTTP2, Reused: a.Reused,
		Ready: a.Ready, DNS: a.DNS, Connect: a.Connect, TLS: a.TLS, Resumed: a.Resumed,
	})
	return func(status int, err error) {
		if err != nil {
			done(0, string(fairlead.AsError(err).Code), loggedCause(err))
			return
		}
		done(status, "", "")
	}
}
