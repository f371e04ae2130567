package interceptor

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// TracingConfig says where spans go.
type TracingConfig struct {
	// Provider makes the spans. Without one there is no tracing, and no trace
	// context is read or sent. Default: none; OpenTelemetry's global provider
	// is never asked.
	Provider trace.TracerProvider
	// Propagator reads and writes the trace context of metadata. Default: W3C
	// Trace Context and Baggage, whatever the global propagator is.
	Propagator propagation.TextMapPropagator
	// TrustRemote is whether the span of a served call is a child of the
	// caller's, and so whether it is sampled is the caller's choice. Otherwise
	// it begins a trace of its own, which links to the caller's. For callers of
	// one's own. Default: not.
	TrustRemote bool
	// Skip leaves out the calls of which it says true, such as health checks.
	// It may run concurrently. Default: none.
	Skip func(connect.Spec) bool
}

// Tracing returns an interceptor that makes a span of each call, a server's or
// a client's, named as its procedure, with the attributes of OpenTelemetry's
// conventions for RPC and neither messages nor metadata. The span of a client's
// stream ends with CloseResponse or the context.
func Tracing(c TracingConfig) (connect.Interceptor, error) {
	if c.Provider == nil {
		return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc { return next }), nil
	}
	if c.Propagator == nil {
		c.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	options := []otelconnect.Option{
		otelconnect.WithTracerProvider(c.Provider), otelconnect.WithPropagator(c.Propagator), otelconnect.WithoutMetrics(),
	}
	if c.TrustRemote {
		options = append(options, otelconnect.WithTrustRemote())
	}
	if c.Skip != nil {
		options = append(options, otelconnect.WithFilter(func(_ context.Context, spec connect.Spec) bool { return !c.Skip(spec) }))
	}
	made, err := otelconnect.NewInterceptor(options...)
	if err != nil {
		return nil, fmt.Errorf("interceptor: tracing: %w", err)
	}
	return made, nil
}
