package observe

import (
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Handshake is one of TLS, over TCP or within that of QUIC, which has just ended.
type Handshake struct {
	Listener string // of its key in the configuration
	Took     time.Duration
	Version  string // of TLS, such as 1.3
	QUIC     bool
	Resumed  bool // a session from before was gone on with
}

// Connection is one of a client, of which spans are recorded.
type Connection struct {
	t     *Tracing
	began trace.SpanContext
	about []attribute.KeyValue
}

// Handshake makes a span of a handshake, in a trace of its own. It returns nil when that
// is not recorded.
func (t *Tracing) Handshake(h Handshake) *Connection {
	now := time.Now()
	_, span := t.tracer.Start(background, "handshake", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(now.Add(-h.Took)))
	if !span.IsRecording() {
		return nil
	}
	transport := semconv.NetworkTransportTCP
	if h.QUIC {
		transport = semconv.NetworkTransportQUIC
	}
	c := &Connection{t: t, began: span.SpanContext(), about: []attribute.KeyValue{attribute.String("fairlead.listener", h.Listener), transport}}
	span.SetAttributes(c.about...)
	span.SetAttributes(semconv.TLSProtocolNameTLS, semconv.TLSProtocolVersion(strings.TrimPrefix(h.Version, "TLS ")), semconv.TLSResumed(h.Resumed))
	span.End(trace.WithTimestamp(now))
	return c
}

// End makes a span of the connection's end, which links to that of its handshake.
// protocol is the major version of HTTP.
func (c *Connection) End(reason string, protocol int, requests int64, lasted time.Duration) {
	_, span := c.t.tracer.Start(recordedTrace, "connection end", trace.WithSpanKind(trace.SpanKindServer), trace.WithLinks(trace.Link{SpanContext: c.began}))
	span.SetAttributes(c.about...)
	if protocol > 0 {
		version := strconv.Itoa(protocol)
		if protocol == 1 {
			version = "1.1"
		}
		span.SetAttributes(semconv.NetworkProtocolName("http"), semconv.NetworkProtocolVersion(version))
	}
	span.SetAttributes(attribute.String("fairlead.reason", reason),
		attribute.Int64("fairlead.connection.requests", requests), attribute.Float64("fairlead.connection.duration", lasted.Seconds()))
	span.End()
}

// On links the request to the connection that it came on.
func (s *Span) On(c *Connection) { s.span.AddLink(trace.Link{SpanContext: c.began}) }
