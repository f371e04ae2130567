package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

// gather is up to how many bytes of pending events go into one write.
const gather = 64 << 10

// tooSlowPatience is how long a reader that is too slow is tried to be told.
const tooSlowPatience = time.Second

// stream is an SSE session.
type stream struct {
	*session

	h     *Handler
	q     *query
	sub   *subscription
	w     *sse.Writer
	multi bool // ids are composite, and control events name their topic
	cut   bool // something could not be written, or was not to be
	id    []byte
	out   []byte
}

// serveSSE serves the query's topics as an event stream.
func (h *Handler) serveSSE(w http.ResponseWriter, r *http.Request, q *query) error {
	reader := topic.NewReader()
	defer reader.Close()
	sub, err := h.subscribe(r.Context(), q, reader)
	if err != nil {
		return err
	}
	if sub == nil {
		w.WriteHeader(http.StatusNoContent) // which stops an EventSource
		return nil
	}
	rc := http.NewResponseController(w)
	// The server's ReadTimeout is for requests; here it would cut the stream.
	_ = rc.SetReadDeadline(time.Time{})
	if r.ProtoMajor == 1 {
		// A stream has deadlines of its own, which the connection's next
		// response must not inherit.
		w.Header().Set("Connection", "close")
	}
	s := &stream{h: h, q: q, sub: sub, multi: len(q.topics) > 1}
	s.session = h.begin(r, TransportSSE, reader, sub.resumed, func() { _ = rc.SetWriteDeadline(time.Now()) })
	reason := fairlead.Internal
	defer func() { h.end(s.session, reason) }()
	if s.w, err = sse.NewWriter(w); err != nil {
		reason = fairlead.Cancelled
		if errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("deliver: serve events: %w", err)
		}
		panic(http.ErrAbortHandler)
	}
	s.w.WriteTimeout = h.cfg.WriteTimeout
	defer s.w.Close()
	switch reason = s.run(); reason {
	case "", fairlead.Fault:
	case fairlead.Draining:
		if s.cut {
			panic(http.ErrAbortHandler)
		}
	default:
		panic(http.ErrAbortHandler)
	}
	return nil
}

// run sends until the session ends, and returns why.
func (s *stream) run() fairlead.Code {
	// The place comes first, so that a drop before the first event can resume,
	// and a reconnection time of the client's own, so that many of them that
	// lose a server do not return at once.
	s.id = s.sub.places.appendID(s.id[:0])
	if s.w.Position(string(s.id), time.Second+rand.N(2*time.Second)) != nil {
		return s.lost()
	}
	p := newPulse(s.ctx, s.h.cfg.Heartbeat)
	defer p.stop()
	items, n := s.sub.items, s.sub.pending
	for {
		if n > 0 {
			if reason, done := s.send(items[:n]); done {
				return reason
			}
			p.put(time.Now())
		}
		if s.ctx.Err() != nil {
			return s.leave()
		}
		var err error
		if n, err = s.reader.Next(p.wait(), items); err == nil || s.ctx.Err() != nil || !p.beat() {
			continue
		}
		if s.heartbeat() != nil {
			return s.lost()
		}
		p.put(time.Now())
	}
}

// send writes items, and reports whether they end the session.
func (s *stream) send(items []topic.Item) (fairlead.Code, bool) {
	s.out = s.out[:0]
	defer func() {
		if cap(s.out) > 2*gather {
			s.out = nil
		}
	}()
	for i := range items {
		item := &items[i]
		switch {
		case item.Kind == topic.KindLag, item.Kind == topic.KindGap && s.q.failOnGap:
			s.tooSlow()
			if item.Kind == topic.KindGap {
				return fairlead.OutOfRange, true
			}
			return fairlead.TooSlow, true
		case i == len(items)-1 && len(s.out) == 0 && s.shares(item):
			// One event alone is the common case: it needs no copy.
			s.sub.places.set(item.Log.Name(), item.Cursor)
			if s.write(item.Record.Frame(formatSSE, encodeSSE)) != nil {
				return s.lost(), true
			}
			s.count(item)
			continue
		}
		s.append(item)
		s.count(item)
		if len(s.out) < gather && i < len(items)-1 {
			continue
		}
		if s.write(s.out) != nil {
			return s.lost(), true
		}
		s.out = s.out[:0]
	}
	if s.sub.open > 0 {
		return "", false
	}
	if last := &items[len(items)-1]; last.Kind == topic.KindFault {
		return fairlead.Fault, true
	}
	return "", true
}

// shares reports whether the item is sent as its shared frame and nothing else.
func (s *stream) shares(item *topic.Item) bool {
	return item.Kind == topic.KindEvent && !s.multi && !s.q.envelope && item.Skipped == 0
}

func (s *stream) write(frame []byte) error {
	s.bytes.Add(uint64(len(frame)))
	_, err := s.w.Write(frame)
	return err
}

// append adds an item to what is to be written.
func (s *stream) append(item *topic.Item) {
	name := item.Log.Name()
	s.sub.places.set(name, item.Cursor)
	if item.Skipped > 0 {
		s.out = sse.AppendComment(s.out, fmt.Sprintf("skipped %d", item.Skipped))
	}
	if item.Kind != topic.KindEvent {
		if !s.multi {
			name = ""
		}
		typ, _, payload := control(item, name)
		s.control(typ, payload, 0)
		if item.Kind != topic.KindGap {
			s.sub.open--
		}
		return
	}
	switch {
	case s.q.envelope:
		s.appendID()
		s.out = append(s.out, item.Record.Frame(formatSSEJSON, encodeSSEJSON)...)
	case s.multi:
		s.appendID()
		s.out = append(s.out, item.Record.Frame(formatSSEBare, encodeSSEBare)...)
	default:
		s.out = append(s.out, item.Record.Frame(formatSSE, encodeSSE)...)
	}
}

func (s *stream) appendID() {
	s.out = append(s.out, "id: "...)
	s.out = s.sub.places.appendID(s.out)
	s.out = append(s.out, '\n')
}

// control adds a control event with the present place as its id.
func (s *stream) control(typ string, payload []byte, retry time.Duration) {
	s.id = s.sub.places.appendID(s.id[:0])
	out, err := sse.Append(s.out, sse.Event{ID: string(s.id), Type: typ, Data: payload, Retry: retry})
	if err != nil {
		panic(err) // ids and types of our own are fit to be sent
	}
	s.out = out
}

func (s *stream) heartbeat() error {
	if s.q.pings {
		return s.w.Send(sse.Event{Type: fairlead.TypePing, Data: []byte("{}")})
	}
	return s.w.Comment("")
}

// leave ends a session whose context has ended: its reader has gone, or is
// sent away.
func (s *stream) leave() fairlead.Code {
	cause := context.Cause(s.ctx)
	e, ok := errors.AsType[*fairlead.Error](cause)
	if !ok {
		return fairlead.Cancelled
	}
	if errors.Is(cause, errReset) {
		s.cut = true
		return e.Code
	}
	s.out = s.out[:0]
	s.control(fairlead.TypeDraining, marshal(wire.Draining{RetryAfterMS: e.RetryAfter.Milliseconds()}), e.RetryAfter)
	if s.write(s.out) != nil {
		return s.lost()
	}
	return e.Code
}

// tooSlow tries to tell the reader where it stands: it comes back from there.
func (s *stream) tooSlow() {
	s.w.WriteTimeout = tooSlowPatience
	if len(s.out) > 0 && s.write(s.out) != nil {
		return
	}
	s.id = s.sub.places.appendID(s.id[:0])
	_ = s.w.Position(string(s.id), 0) // the session ends either way
}

// lost tells a reader that left from one that stalled.
func (s *stream) lost() fairlead.Code {
	s.cut = true
	if e, ok := errors.AsType[*fairlead.Error](context.Cause(s.ctx)); ok {
		return e.Code
	}
	if s.ctx.Err() != nil {
		return fairlead.Cancelled
	}
	return fairlead.TooSlow
}
