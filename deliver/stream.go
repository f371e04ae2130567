package deliver

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

const (
	// tooSlowPatience is how long a reader that is too slow is tried to be told.
	tooSlowPatience = time.Second
	// lingerTime is how long the end of a stream may take to arrive before its
	// connection is closed: a reset could overtake it.
	lingerTime = time.Second
)

// stream is an SSE session.
type stream struct {
	session

	cursor fairlead.Cursor // in its one topic
	some   *streamOfSome   // nil of most
	open   int32           // topics that have not ended for it

	envelope, pings, failOnGap bool // as the query says

	chunked bool // the body is coded here (RFC 9112 §7.1)
	begun   bool
	ended   bool // nothing more is sent
	cut     bool // the response does not end as it should

	last moment // of events
}

// streamOfSome is what only some streams have.
type streamOfSome struct {
	places  *places       // of several topics: then ids are composite, and control events name theirs
	pending []topic.Item  // read already
	reason  fairlead.Code // of the end
}

// places returns those of a stream of several topics, else nil.
func (s *stream) places() *places {
	if s.some == nil {
		return nil
	}
	return s.some.places
}

// ending notes that nothing more is sent.
func (s *stream) ending(reason fairlead.Code) {
	if s.some == nil {
		s.some = new(streamOfSome)
	}
	s.ended, s.some.reason = true, reason
}

// Pull gives what the topics have for the reader.
func (s *stream) Pull(out *fanout.Out) {
	if !s.begun {
		s.begun = true
		s.established()
		// The place comes first, so that a drop before the first event can resume,
		// and a reconnection time of the client's own, so that many of them that
		// lose a server do not return at once.
		s.position(out, time.Second+rand.N(2*time.Second))
	}
	if s.some != nil && s.some.pending != nil {
		items := s.some.pending
		s.some.pending = nil
		s.send(out, items)
		out.More()
		return
	}
	if why := s.away.Load(); why != nil {
		s.leave(out, why)
		return
	}
	got := pull(s.reader, out, pullItems)
	s.send(out, got.items)
	got.release()
}

// Receive is given what the client of a stream has no reason to send.
func (s *stream) Receive(*fanout.Out, []byte) {}

// Beat gives a heartbeat.
func (s *stream) Beat(out *fanout.Out) {
	frame := heartbeat
	if s.pings {
		frame = pingEvent
	}
	s.message(KindPing, true, len(frame))
	s.write(out, frame)
}

var (
	heartbeat = sse.AppendComment(nil, "")
	pingEvent = mustAppend(&fairlead.Event{}, sse.Event{Type: fairlead.TypePing, Data: []byte("{}")})
)

// Closed ends the session.
func (s *stream) Closed(err error) {
	s.cut = s.cut || err != nil
	if !s.ended {
		s.ending(s.lost(err))
	}
	s.end(s.some.reason)
}

// send gives items until one that ends the session.
func (s *stream) send(out *fanout.Out, items []topic.Item) {
	defer s.delivered(items, s.tally(), 0, &s.last)
	for i := range items {
		item := &items[i]
		if item.Kind == topic.KindLag || item.Kind == topic.KindGap && s.failOnGap {
			reason := fairlead.TooSlow
			if item.Kind == topic.KindGap {
				reason = fairlead.OutOfRange
			}
			s.tooSlow(out, reason)
			return
		}
		s.moved(item)
		s.count(item)
		if s.shares(item) {
			s.share(out, item.Record)
			continue
		}
		frame := s.encode(item)
		if item.Kind != topic.KindEvent {
			s.message(KindControl, true, len(frame))
		}
		s.write(out, frame)
		if s.open == 0 {
			reason := fairlead.Code("")
			if item.Kind == topic.KindFault {
				reason = fairlead.Fault
			}
			s.finish(out, reason)
			return
		}
	}
}

func (s *stream) moved(item *topic.Item) {
	if p := s.places(); p != nil {
		p.set(item.Log.Name(), item.Cursor)
		return
	}
	s.cursor = item.Cursor
}

// shares reports whether the item is sent as its shared frame and nothing else.
func (s *stream) shares(item *topic.Item) bool {
	return item.Kind == topic.KindEvent && s.places() == nil && !s.envelope && item.Skipped == 0
}

func (s *stream) share(out *fanout.Out, r *topic.Record) {
	format, encode := formatSSE, encodeSSE
	if s.chunked {
		format, encode = formatSSEChunk, encodeSSEChunk
	}
	frame := r.Frame(format, encode)
	n := len(frame)
	if s.chunked {
		n = chunkData(n)
	}
	s.bytes.Add(uint64(n)) //nolint:gosec // not negative
	out.Share(frame)
}

// write gives a frame of this session's own.
func (s *stream) write(out *fanout.Out, frame []byte) {
	s.bytes.Add(uint64(len(frame)))
	if s.chunked {
		frame = appendChunk(nil, frame)
	}
	out.Add(frame)
}

// encode returns an item as it is for this session.
func (s *stream) encode(item *topic.Item) []byte {
	var b []byte
	if item.Skipped > 0 {
		b = sse.AppendComment(b, fmt.Sprintf("skipped %d", item.Skipped))
	}
	if item.Kind != topic.KindEvent {
		name := ""
		if s.places() != nil {
			name = item.Log.Name()
		}
		if item.Kind != topic.KindGap {
			s.open--
		}
		typ, _, payload := control(item, name)
		return s.appendControl(b, typ, payload, 0)
	}
	switch {
	case s.envelope:
		return append(s.appendIDLine(b), item.Record.Frame(formatSSEJSON, encodeSSEJSON)...)
	case s.places() != nil:
		return append(s.appendIDLine(b), item.Record.Frame(formatSSEBare, encodeSSEBare)...)
	}
	return append(b, item.Record.Frame(formatSSE, encodeSSE)...)
}

// appendID appends the id of the present place.
func (s *stream) appendID(b []byte) []byte {
	if p := s.places(); p != nil {
		return p.appendID(b)
	}
	return append(b, s.cursor...)
}

func (s *stream) appendIDLine(b []byte) []byte {
	return append(s.appendID(append(b, "id: "...)), '\n')
}

// appendControl appends a control event with the present place as its id.
func (s *stream) appendControl(b []byte, typ string, payload []byte, retry time.Duration) []byte {
	b, err := sse.Append(b, sse.Event{ID: string(s.appendID(nil)), Type: typ, Data: payload, Retry: retry})
	if err != nil {
		panic(err) // ids and types of our own are fit to be sent
	}
	return b
}

func (s *stream) position(out *fanout.Out, retry time.Duration) {
	block, err := sse.AppendPosition(nil, string(s.appendID(nil)), retry)
	if err != nil {
		panic(err) // ids of our own are fit to be sent
	}
	s.message(KindControl, true, len(block))
	s.write(out, block)
}

// finish ends the response as it should end.
func (s *stream) finish(out *fanout.Out, reason fairlead.Code) {
	s.ending(reason)
	if s.chunked {
		out.Add(lastChunk)
		out.End(fanout.End{HalfClose: true, Linger: lingerTime})
		return
	}
	out.End(fanout.End{})
}

// leave tells a reader that is sent away when to come back.
func (s *stream) leave(out *fanout.Out, why *fairlead.Error) {
	if why.Code == fairlead.TooSlow {
		s.tooSlow(out, why.Code)
		return
	}
	advice := marshal(wire.Draining{RetryAfterMS: why.RetryAfter.Milliseconds()})
	frame := s.appendControl(nil, fairlead.TypeDraining, advice, why.RetryAfter)
	s.message(KindControl, true, len(frame))
	s.write(out, frame)
	s.finish(out, why.Code)
}

// tooSlow tries to tell the reader where it stands: it comes back from there.
func (s *stream) tooSlow(out *fanout.Out, reason fairlead.Code) {
	s.cut = true
	s.ending(reason)
	s.position(out, 0)
	out.End(fanout.End{Within: tooSlowPatience})
}
