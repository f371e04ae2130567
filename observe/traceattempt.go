package observe

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Attempt is one try to get a response of an upstream.
type Attempt struct {
	Pool     string
	Endpoint string // URL
	Method   string
	Number   int           // 1 of the first
	Asked    time.Time     // when a connection was asked for
	Waited   time.Duration // for it
	Sent     bool          // it got one
	HTTP2    bool
	Reused   bool // the connection had carried a request before

	// Of a connection that was made for it: when it was ready, and how long that took.
	Ready             time.Time
	DNS, Connect, TLS time.Duration
	Resumed           bool // its TLS session
}

// Attempt begins the span of an attempt, and puts its trace context into the header,
// which is the attempt's own. done ends it: with the status of the response, or with
// 0 and what went wrong, a word of few, and a text without secrets.
func (s *Span) Attempt(header http.Header, a *Attempt) (done func(status int, reason, text string)) {
	ctx, span := s.t.tracer.Start(s.ctx, a.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(a.Asked))
	w3c.Inject(ctx, propagation.HeaderCarrier(header))
	attrs := append(make([]attribute.KeyValue, 0, 10), methodOf(a.Method), attribute.String("fairlead.pool", a.Pool))
	attrs = append(attrs, endpointOf(a.Endpoint)...)
	if a.Number > 1 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(a.Number-1))
	}
	span.AddEvent("pool.wait", trace.WithTimestamp(a.Asked.Add(a.Waited)), trace.WithAttributes(attribute.Float64("duration", a.Waited.Seconds())))
	if a.Sent {
		v := "1.1"
		if a.HTTP2 {
			v = "2"
		}
		attrs = append(attrs, semconv.NetworkProtocolVersion(v), attribute.Bool("fairlead.connection.reused", a.Reused))
	}
	if !a.Ready.IsZero() {
		a.opened(span)
	}
	span.SetAttributes(attrs...)
	return func(status int, reason, text string) {
		if status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(status))
			if status >= http.StatusBadRequest {
				reason = strconv.Itoa(status)
			}
		}
		if reason != "" {
			span.SetAttributes(semconv.ErrorTypeKey.String(reason))
			span.SetStatus(codes.Error, text)
		}
		span.End()
	}
}

// opened adds events of how the connection was made.
func (a *Attempt) opened(span trace.Span) {
	at := a.Ready.Add(-a.TLS)
	took := func(d time.Duration) attribute.KeyValue { return attribute.Float64("duration", d.Seconds()) }
	if a.DNS > 0 {
		span.AddEvent("dns", trace.WithTimestamp(at.Add(-a.Connect)), trace.WithAttributes(took(a.DNS)))
	}
	span.AddEvent("dial", trace.WithTimestamp(at), trace.WithAttributes(took(a.Connect)))
	if a.TLS > 0 {
		span.AddEvent("tls.handshake", trace.WithTimestamp(a.Ready), trace.WithAttributes(took(a.TLS), attribute.Bool("resumed", a.Resumed)))
	}
}

// endpointOf are the attributes of an endpoint; of a Unix socket its path.
func endpointOf(endpoint string) []attribute.KeyValue {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return []attribute.KeyValue{semconv.ServerAddress(endpoint)}
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return serverOf(net.JoinHostPort(host, port))
}
