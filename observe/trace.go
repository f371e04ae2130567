package observe

import (
	"context"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// TracingConfig says where spans go, and how many.
type TracingConfig struct {
	// Endpoint is the URL of a collector's OTLP over HTTP, such as
	// http://127.0.0.1:4318/v1/traces. Required. Headers that it wants, such as a
	// token, come from the variable OTEL_EXPORTER_OTLP_HEADERS, and who signs its
	// certificate from OTEL_EXPORTER_OTLP_CERTIFICATE, where the system does not know.
	Endpoint string
	// Sample is the share of traces that begin here which are recorded, from 0 to 1.
	// Default 0: only those of which who called has decided so, see Trust.
	Sample float64
	// Trust has a trace go on that came with a request or an event; else one begins
	// here that links to it. It is what [Tracing.Serve] is told beside its own word.
	Trust bool
	// Deliveries is how many spans of events given to readers there may be a second.
	// Default 0: none.
	Deliveries int
	// Version is the program's.
	Version string
	// Failed is told of spans that could not be handed over, at most once a minute.
	// nil: nobody is.
	Failed func(err error)
}

// Tracing makes spans and exports them, from a queue of 2,048, in batches of 512 at
// most or every 5 s; a span that finds no room is dropped. No method waits for the
// collector but Close. It is safe for concurrent use; of nil, which is tracing that
// is off, no method may be called but Close and Spans.
type Tracing struct {
	cfg      TracingConfig
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	out      *exporter
	ids      ids
	count    spanCount
	budget   budget // of deliveries
}

// Spans returns what became of spans so far; nil of nil.
func (t *Tracing) Spans() *Spans {
	if t == nil {
		return nil
	}
	return &Spans{Ended: t.count.ended.Load(), Exported: t.count.exported.Load(), Failed: t.count.failed.Load()}
}

// maxValue is how many characters an attribute has; a longer one is cut.
const maxValue = 1024

// scope names who makes the spans.
const scope = "github.com/fairlead-edge/fairlead"

// exportTimeout is how long a batch may take, tries again included: less than the
// SDK's 30 s, for what is queued meanwhile is lost.
const exportTimeout = 10 * time.Second

// NewTracing returns what makes spans. It connects to nothing yet. An error says which
// variable of OpenTelemetry is wrong, and repeats no value. A process has one logger and
// one error handler of OpenTelemetry: both say nothing from here on, since they
// would print values.
func NewTracing(cfg TracingConfig) (*Tracing, error) {
	ctx := context.Background()
	headers, err := collectorHeaders()
	if err != nil {
		return nil, err
	}
	secure, err := collectorTLS()
	if err != nil {
		return nil, err
	}
	if err := checkResource(); err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("fairlead"), semconv.ServiceVersion(cfg.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.New("observe: tracing: OTEL_RESOURCE_ATTRIBUTES cannot be read; want name=value, separated by commas, with %XX for what is special")
	}
	var said complaints
	said.listen()
	way := newCollector(secure)
	to, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.Endpoint), otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithTimeout(exportTimeout), otlptracehttp.WithHTTPClient(way.client()))
	if err = errors.Join(err, said.err()); err != nil {
		return nil, err
	}
	quiet()
	t := &Tracing{cfg: cfg, ids: newIDs(), out: &exporter{to: to, failed: cfg.Failed, collector: way}}
	t.out.count = &t.count
	t.out.ctx, t.out.cancel = context.WithCancel(ctx)
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit = maxValue
	t.provider = sdk.NewTracerProvider(
		sdk.WithRawSpanLimits(limits),
		sdk.WithSampler(sampler{sdk.ParentBased(sdk.TraceIDRatioBased(cfg.Sample))}),
		sdk.WithResource(about),
		sdk.WithIDGenerator(t.ids),
		sdk.WithSpanProcessor(&t.count),
		sdk.WithBatcher(t.out, sdk.WithMaxQueueSize(sdk.DefaultMaxQueueSize), sdk.WithMaxExportBatchSize(sdk.DefaultMaxExportBatchSize),
			sdk.WithBatchTimeout(sdk.DefaultScheduleDelay*time.Millisecond), sdk.WithExportTimeout(exportTimeout)),
	)
	t.tracer = t.provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL), trace.WithInstrumentationVersion(cfg.Version))
	return t, nil
}

// Close exports what has ended, until ctx ends, and returns when nothing of it runs
// any more. Spans that end later are dropped.
func (t *Tracing) Close(ctx context.Context) {
	if t == nil {
		return
	}
	stop := context.AfterFunc(ctx, t.out.cancel)
	defer stop()
	// The end of ctx ends the exports, and with them this; to leave before would leave
	// their goroutine behind.
	_ = t.provider.Shutdown(context.WithoutCancel(ctx)) // what fails was told
	t.out.cancel()
	t.out.collector.CloseIdleConnections()
}

// sampler records what belongs to a span that was recorded, though it is in a trace
// of its own.
type sampler struct{ sdk.Sampler }

// ShouldSample decides about a span.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if p.ParentContext.Value(recordKey{}) != nil {
		return sdk.SamplingResult{Decision: sdk.RecordAndSample}
	}
	return s.Sampler.ShouldSample(p)
}

// recordKey is where the context has that a span is to be recorded.
type recordKey struct{}

// recordedTrace is the context of a trace that begins and is recorded.
var recordedTrace = context.WithValue(context.Background(), recordKey{}, true)

// budget is so many of something in each second.
type budget struct {
	second, used atomic.Int64
}

// take reports whether there is one left. Where a second begins, some more may be
// had by those who come at once.
func (b *budget) take(most int) bool {
	now := time.Now().Unix()
	if last := b.second.Load(); last != now && b.second.CompareAndSwap(last, now) {
		b.used.Store(0)
	}
	return b.used.Load() < int64(most) && b.used.Add(1) <= int64(most)
}

// w3c reads and writes traceparent and tracestate (W3C Trace Context).
var w3c propagation.TraceContext

// parentCarrier is a traceparent alone.
type parentCarrier string

// Get returns it.
func (c parentCarrier) Get(key string) string {
	if key == "traceparent" {
		return string(c)
	}
	return ""
}

// Set does nothing: it is only read.
func (parentCarrier) Set(_, _ string) {}

// Keys are those that there may be.
func (parentCarrier) Keys() []string { return []string{"traceparent"} }

// spanOf returns the span that a traceparent names, one that is not valid for what
// is none.
func spanOf(traceparent string) trace.SpanContext {
	if traceparent == "" {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(w3c.Extract(background, parentCarrier(traceparent)))
}

// parentOf returns the traceparent that names the span.
func parentOf(span trace.SpanContext) string {
	const blank = "00-00000000000000000000000000000000-0000000000000000-00"
	id, own := span.TraceID(), span.SpanID()
	b := [len(blank)]byte([]byte(blank))
	hex.Encode(b[3:35], id[:])
	hex.Encode(b[36:52], own[:])
	if span.IsSampled() {
		b[54] = '1'
	}
	return string(b[:])
}
