package deliver

import (
	"context"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// Tracer has functions for distributed tracing. Each may be nil, and must not block.
type Tracer struct {
	// Publish is called before the events of a publish are stored. It may set their
	// Traceparent, which is what the publisher said of each, or else its request. done,
	// unless it is nil, is called afterwards, as [Observer].Published is. ctx is of the
	// request, and has no values when the publish came on a WebSocket.
	Publish func(ctx context.Context, topic string, events []fairlead.Event) (done func(stored int, result fairlead.Code))
	// Delivered is called for each event that is given to a reader, if its trace context
	// says that it is recorded (W3C Trace Context §3.2.2.5). Locks of the session are held.
	Delivered func(topic, transport string, event *fairlead.Event)
}

// traced appends for a publish that is traced.
func (h *Handler) traced(ctx context.Context, name string, b topic.Batch) (topic.Result, error) {
	if h.cfg.Tracer.Publish == nil || len(b.Events) == 0 {
		return h.append(ctx, name, b)
	}
	done := h.cfg.Tracer.Publish(ctx, name, b.Events)
	if done == nil {
		return h.append(ctx, name, b)
	}
	code, stored := fairlead.Internal, 0 // of a panic
	defer func() { done(stored, code) }()
	res, err := h.append(ctx, name, b)
	code = ""
	if err != nil {
		code = fairlead.AsError(err).Code
	} else if !res.Repeated {
		stored = res.Count
	}
	return res, err
}

// trace tells of an item that is being sent.
func (s *session) trace(item *topic.Item) {
	if f := s.h.cfg.Tracer.Delivered; f != nil && item.Kind == topic.KindEvent && isSampled(item.Record.Event.Traceparent) {
		f(item.Log.Name(), s.transport.String(), &item.Record.Event)
	}
}

// isSampled reports whether a traceparent has the flag sampled.
func isSampled(traceparent string) bool {
	const at = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0")
	if len(traceparent) <= at {
		return false
	}
	digit := traceparent[at]
	return (digit&1 == 1) == (digit <= '9') // of the letters, a is 10
}
