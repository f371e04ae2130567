package observe

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-edge/fairlead"
)

// maxPublishes is how many spans of publishes a request may have; those beyond belong
// to its own.
const maxPublishes = 128

// maxLinks is how many other traces a publish of many events links to.
const maxLinks = 16

// Publish begins the span of a publish, and gives its trace context to the events,
// in the place of the one they came with. in is the request's, the zero Served for
// what came on a WebSocket; pattern is the topic's. done, nil when nothing is recorded,
// ends it with the code of a refusal, "" for none.
//
// An event that came with a context of its own is linked to; where there is no request,
// and TracingConfig.Trust says so, the span belongs to that trace.
func (t *Tracing) Publish(in Served, pattern string, events []fairlead.Event) (done func(stored int, code fairlead.Code)) {
	if in.Own != "" && in.Span == nil {
		for i := range events { // what the publisher said is no less true
			if events[i].Traceparent == in.Own {
				events[i].Traceparent = in.Client
			}
		}
		return nil
	}
	var links []trace.Link
	for i := range events {
		if given := spanOf(events[i].Traceparent); given.IsValid() && events[i].Traceparent != in.Own && len(links) < maxLinks &&
			!slices.ContainsFunc(links, func(l trace.Link) bool { return l.SpanContext.Equal(given) }) {
			links = append(links, trace.Link{SpanContext: given})
		}
	}
	parent := background
	if in.Span != nil {
		if in.Span.publishes.Add(1) > maxPublishes {
			return nil
		}
		parent = in.Span.ctx
	} else if t.cfg.Trust && len(links) > 0 {
		parent = trace.ContextWithRemoteSpanContext(parent, links[0].SpanContext)
		links = links[1:]
	}
	_, span := t.tracer.Start(parent, "publish "+pattern, trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...))
	if !span.IsRecording() {
		return nil
	}
	own := parentOf(span.SpanContext())
	for i := range events {
		events[i].Traceparent = own
	}
	span.SetAttributes(messaging(pattern, "publish", semconv.MessagingOperationTypeSend)...)
	if len(events) > 1 {
		span.SetAttributes(semconv.MessagingBatchMessageCount(len(events)))
	}
	return func(stored int, code fairlead.Code) {
		span.SetAttributes(attribute.Int("fairlead.events.stored", stored))
		if code != "" {
			span.SetAttributes(semconv.ErrorTypeKey.String(string(code)))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Delivered makes a span of an event that is given to a reader, unless there were
// TracingConfig.Deliveries of them in this second. It belongs to the trace of the
// event's publish, and links to that; pattern finds that of the topic's name. Unless
// TracingConfig.Trust says so, that publish must be one that was recorded here: others
// cannot have deliveries recorded, in traces of their own.
func (t *Tracing) Delivered(pattern func(name string) string, name, transport string, e *fairlead.Event) {
	from := spanOf(e.Traceparent)
	if !from.IsSampled() || !t.cfg.Trust && !t.ids.made(from) || !t.budget.take(t.cfg.Deliveries) {
		return
	}
	topics := pattern(name)
	_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(background, from), "deliver "+topics,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.Link{SpanContext: from}))
	span.SetAttributes(messaging(topics, "deliver", semconv.MessagingOperationTypeProcess)...)
	span.SetAttributes(attribute.String("fairlead.transport", transport))
	span.End()
}

// messaging are the attributes of what is done with events. The name of a topic is
// none of them: it has many values.
func messaging(pattern, operation string, kind attribute.KeyValue) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("fairlead"), semconv.MessagingDestinationTemplate(pattern),
		semconv.MessagingOperationName(operation), kind,
	}
}
