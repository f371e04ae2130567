package observe

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Served is the trace of a request that is being served.
type Served struct {
	// Client is the traceparent that the request came with; "" for none.
	Client string
	// Own is the one of this server's span, which stands in its place.
	Own string
	// Span is nil when it is not recorded.
	Span *Span
}

// Span is one of a request of a client, and is recorded.
type Span struct {
	t      *Tracing
	span   trace.Span
	ctx    context.Context //nolint:containedctx // with the span, for those that are below it
	method string          // as names have it

	publishes atomic.Int32 // spans of them

	mu          sync.Mutex
	established time.Time // when the span was ended although the response went on; zero: not yet
}

var background = context.Background()

// Serve begins the span of a request, and replaces its trace context by that of the
// span, recorded or not, for whoever the request is handed to. Of a client that is
// not trusted, and unless TracingConfig.Trust says so of all, the trace that the
// request came with is only linked to.
func (t *Tracing) Serve(r *http.Request, trusted bool) Served {
	s := Served{}
	parent := recordedTrace
	var client trace.SpanContext
	if v := r.Header["Traceparent"]; len(v) == 1 {
		ctx := w3c.Extract(background, propagation.HeaderCarrier(r.Header))
		if client = trace.SpanContextFromContext(ctx); client.IsValid() {
			s.Client = v[0]
			if trusted || t.cfg.Trust {
				parent = ctx
			}
		}
	}
	if parent != recordedTrace && !client.IsSampled() {
		s.Own = s.Client // as it came: there is no span here that could be named
		return s
	}
	if parent == recordedTrace {
		delete(r.Header, "Tracestate") // of another trace
		if id := t.unchosen(); id.IsValid() {
			s.Own = parentOf(id)
			give(r.Header, s.Own)
			return s
		}
	}
	name := knownMethod(r.Method)
	if name == "other" {
		name = "HTTP" // as the conventions have it
	}
	ctx, span := t.tracer.Start(parent, name, trace.WithSpanKind(trace.SpanKindServer))
	s.Own = parentOf(span.SpanContext())
	give(r.Header, s.Own)
	if parent == recordedTrace && client.IsValid() {
		span.AddLink(trace.Link{SpanContext: client})
	}
	span.SetAttributes(requestAttributes(r)...)
	s.Span = &Span{t: t, span: span, ctx: ctx, method: name}
	return s
}

// give puts the trace context of this server in the place of the client's, of which
// that may have said that it ends here (RFC 9110 §7.6.1).
func give(h http.Header, own string) {
	h["Traceparent"] = []string{own}
	for i, list := range h["Connection"] {
		if !strings.Contains(strings.ToLower(list), "trace") {
			continue
		}
		names := slices.DeleteFunc(strings.Split(list, ","), func(name string) bool {
			name = strings.TrimSpace(name)
			return strings.EqualFold(name, "traceparent") || strings.EqualFold(name, "tracestate")
		})
		h["Connection"][i] = strings.Join(names, ",")
	}
}

// unchosen draws whether a trace that begins here is recorded, and returns the ids of
// one that is not, for whoever comes after; else those that are not valid. The SDK
// would do the same for some ten times the cost.
func (t *Tracing) unchosen() trace.SpanContext {
	if rand.Float64() < t.cfg.Sample { //nolint:gosec // no secret
		return trace.SpanContext{}
	}
	var id trace.TraceID
	var span trace.SpanID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())  //nolint:gosec // the same
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())  //nolint:gosec // the same
	binary.BigEndian.PutUint64(span[:], rand.Uint64()) //nolint:gosec // the same
	id[15] |= 1                                        // a zero is none
	span[7] |= 1
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span})
}

// requestAttributes are what is known of a request at once; not its path, which may
// be a secret.
func requestAttributes(r *http.Request) []attribute.KeyValue {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attrs := append(make([]attribute.KeyValue, 0, 8), methodOf(r.Method), semconv.URLScheme(scheme), semconv.NetworkProtocolVersion(version(r.ProtoMajor, r.ProtoMinor)))
	return append(attrs, serverOf(r.Host)...)
}

func methodOf(method string) attribute.KeyValue {
	if method = knownMethod(method); method == "other" {
		return semconv.HTTPRequestMethodOther
	}
	return semconv.HTTPRequestMethodKey.String(method)
}

// version is that of HTTP as the conventions write it.
func version(major, minor int) string {
	if major >= 2 && minor == 0 {
		return strconv.Itoa(major)
	}
	return strconv.Itoa(major) + "." + strconv.Itoa(minor)
}

// serverOf are the attributes of an authority.
func serverOf(authority string) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.Trim(authority, "[]")
	}
	attrs := []attribute.KeyValue{semconv.ServerAddress(legible(host))}
	if n, err := strconv.Atoi(port); err == nil {
		attrs = append(attrs, semconv.ServerPort(n))
	}
	return attrs
}

// Response is what became of a request.
type Response struct {
	Route     string        // pattern; "" for none
	Path      string        // without what is a secret of it; "": it is left out
	Client    string        // address; "": not known
	Status    int           // 0: none
	GRPC      string        // status of a call, as a number; "": none
	Procedure string        // of a call of ours, such as fairlead.v1.Topics/Publish; "": none
	Reason    string        // why it ended, where that is known
	Sent      int64         // bytes of the body
	Events    uint64        // given to a reader
	Took      time.Duration // from its start
}

// TraceID returns the id of the trace, for logs and exemplars.
func (s *Span) TraceID() string { return s.span.SpanContext().TraceID().String() }

// SpanID returns the id of the span.
func (s *Span) SpanID() string { return s.span.SpanContext().SpanID().String() }

// exemplify observes how long something took, with the trace as its exemplar, if there
// is one.
func (s *Span) exemplify(c *cells, took time.Duration) {
	bucket := c.took(took)
	if s == nil {
		return
	}
	c.exemplars[bucket].Store(&prometheus.Exemplar{
		Value: took.Seconds(), Labels: prometheus.Labels{"trace_id": s.TraceID(), "span_id": s.SpanID()}, Timestamp: time.Now(),
	})
}

// Establish ends the span of a request whose response is a stream, which has begun:
// its end will have a span of its own. It does nothing the second time.
func (s *Span) Establish(r Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.established.IsZero() {
		return
	}
	s.established = time.Now()
	s.describe(s.span, &r)
	s.span.SetAttributes(attribute.Bool("fairlead.stream", true))
	s.span.End()
}

// End ends the span; or, of a stream that was established, makes a span of its end
// that links to it.
func (s *Span) End(r Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.established.IsZero() {
		s.describe(s.span, &r)
		s.span.SetAttributes(semconv.HTTPResponseBodySize(int(r.Sent)))
		s.span.End()
		return
	}
	_, end := s.t.tracer.Start(recordedTrace, s.method, trace.WithSpanKind(trace.SpanKindServer), trace.WithLinks(trace.Link{SpanContext: s.span.SpanContext()}))
	s.describe(end, &r)
	end.SetName(s.nameOf(&r) + " end")
	end.SetAttributes(
		attribute.Bool("fairlead.stream", true), attribute.Float64("fairlead.stream.duration", r.Took.Seconds()),
		attribute.Int64("fairlead.stream.bytes", r.Sent),
	)
	if r.Events > 0 {
		end.SetAttributes(attribute.Int64("fairlead.stream.events", int64(min(r.Events, 1<<62)))) //nolint:gosec // bounded
	}
	end.End()
}

// describe sets what the response says. s.mu is held.
func (s *Span) describe(span trace.Span, r *Response) {
	attrs := make([]attribute.KeyValue, 0, 10)
	if r.Route != "" {
		attrs = append(attrs, semconv.HTTPRoute(r.Route))
	}
	if r.Path != "" {
		attrs = append(attrs, semconv.URLPath(legible(r.Path)))
	}
	if r.Client != "" {
		attrs = append(attrs, semconv.ClientAddress(r.Client))
	}
	if r.Status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(r.Status))
	}
	if r.Procedure != "" {
		attrs = append(attrs, semconv.RPCMethod(legible(r.Procedure)))
	}
	failed := ""
	if r.Status >= 500 {
		failed = strconv.Itoa(r.Status)
	}
	if r.GRPC != "" {
		code := grpcName(r.GRPC)
		attrs = append(attrs, semconv.RPCSystemNameGRPC, semconv.RPCResponseStatusCode(code))
		if grpcFault(code) {
			failed = code
		}
	}
	if r.Reason != "" {
		attrs = append(attrs, attribute.String("fairlead.reason", r.Reason))
	}
	if failed != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(failed))
		span.SetStatus(codes.Error, r.Reason)
	}
	span.SetName(s.nameOf(r))
	span.SetAttributes(attrs...)
}

// legible is what OTLP can carry of a text that a client has chosen: one that is not
// UTF-8 would have the whole batch refused.
func legible(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// nameOf is the name of the request's span.
func (s *Span) nameOf(r *Response) string {
	switch {
	case r.Procedure != "":
		return legible(r.Procedure)
	case r.Route != "":
		return s.method + " " + r.Route
	}
	return s.method
}

// grpcNames are the statuses of gRPC by their numbers.
var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func grpcName(number string) string {
	if n, err := strconv.ParseUint(number, 10, 8); err == nil && n < uint64(len(grpcNames)) {
		return grpcNames[n]
	}
	return number
}

// grpcFault reports whether a status is the server's fault, as the conventions say.
func grpcFault(name string) bool {
	switch name {
	case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
		return true
	}
	return false
}
