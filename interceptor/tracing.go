package interceptor

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// TracingConfig adjusts [Tracing].
type TracingConfig struct {
	// Provider makes the spans. Required.
	Provider trace.TracerProvider
	// TrustRemote makes the spans of a handler children of the caller's, for servers
	// whose callers are their own. Default: a handler's span begins a trace of its own
	// that links to the caller's.
	TrustRemote bool
}

// Tracing returns an interceptor that makes a span of each call, with the names and
// attributes of OpenTelemetry's conventions for RPC, and hands the trace on as W3C
// trace context (traceparent, tracestate, baggage). It makes no metrics.
func Tracing(cfg TracingConfig) (connect.Interceptor, error) {
	if cfg.Provider == nil {
		return nil, errors.New("interceptor: tracing: set TracingConfig.Provider to who makes the spans")
	}
	options := []otelconnect.Option{
		otelconnect.WithTracerProvider(cfg.Provider), otelconnect.WithoutMetrics(),
		otelconnect.WithPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	}
	if cfg.TrustRemote {
		options = append(options, otelconnect.WithTrustRemote())
	}
	i, err := otelconnect.NewInterceptor(options...)
	if err != nil {
		return nil, fmt.Errorf("interceptor: tracing: %w", err)
	}
	return i, nil
}
