package capture

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

// serveEvents serves a recorded event stream on its own URL.
func (s *stream) serveEvents(w http.ResponseWriter, r *http.Request) {
	after, unknown := s.startOf(r)
	earliest, latest := s.bounds()
	if r.Method == http.MethodHead {
		p, _ := s.now()
		h := w.Header()
		h.Set("Content-Type", eventStream)
		h.Set("Cache-Control", "no-store")
		h.Set("Fairlead-Earliest", s.cursor(earliest))
		h.Set("Fairlead-Latest", s.cursor(latest))
		h.Set("Fairlead-Closed", closedFlag(p != live))
		return
	}
	reader := topic.NewReader()
	defer reader.Close()
	if err := reader.Add(s.log, after); err != nil {
		if errors.Is(err, topic.ErrPastEnd) {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		writeProblem(w, fairlead.AsError(err))
		return
	}
	out, err := sse.NewWriter(w)
	if err != nil {
		return // the client is gone
	}
	defer out.Close()
	feed := &feed{s: s, r: reader, out: out, unknown: unknown}
	feed.run(r.Context(), after)
}

// closedFlag is a Boolean of a structured field (RFC 9651 §3.3.6).
func closedFlag(closed bool) string {
	if closed {
		return "?1"
	}
	return "?0"
}

// startOf returns where a request on the stream's own URL begins. unknown is
// what it asked for if that says nothing about this stream: everything
// retained then follows a gap.
func (s *stream) startOf(r *http.Request) (after fairlead.Cursor, unknown string) {
	query := r.URL.Query()
	given := r.Header.Get("Last-Event-ID")
	for _, name := range []string{"after", "last_event_id"} {
		if given == "" {
			given = query.Get(name)
		}
	}
	switch fairlead.Cursor(given) {
	case "", fairlead.Earliest, fairlead.Snapshot:
		return fairlead.Earliest, ""
	case fairlead.Latest:
		return fairlead.Latest, ""
	}
	if id, seq, ok := parseCursor(given); ok {
		_, latest := s.bounds()
		if p, _ := s.now(); id == s.id && (seq <= latest || seq == latest+1 && p != live) {
			return s.at(seq), ""
		}
		return fairlead.Earliest, given
	}
	if seq, ok := s.firstWith(given); ok {
		return s.at(seq), ""
	}
	if given == s.base {
		return s.at(0), ""
	}
	return fairlead.Earliest, given
}

// firstWith returns the number of the first retained event after which the
// upstream's own id is the one given. Where the beginning is forgotten the
// oldest event does not count: its id may be that of one before it.
func (s *stream) firstWith(id string) (seq uint64, ok bool) {
	r := topic.NewReader()
	defer r.Close()
	if r.Add(s.log, fairlead.Earliest) != nil {
		return 0, false
	}
	previous := s.base
	if earliest, _ := s.bounds(); earliest > 1 {
		if oldest := s.record(earliest); oldest != nil {
			previous = oldest.Event.Key
		}
	}
	var items [64]topic.Item
	for n := r.Poll(items[:]); n > 0; n = r.Poll(items[:]) {
		for _, item := range items[:n] {
			if item.Kind != topic.KindEvent {
				continue
			}
			if e := &item.Record.Event; e.Key == id && previous != id {
				return number(e.Cursor), true
			}
			previous = item.Record.Event.Key
		}
	}
	return 0, false
}

// feed sends a stream's events to one reader of its own URL.
type feed struct {
	s       *stream
	r       *topic.Reader
	out     *sse.Writer
	unknown string // see startOf
	frame   []byte
	over    bool
}

// maxFrame is how much is encoded, in bytes, before it is written.
const maxFrame = 32 << 10

// run returns when all was sent or the client has gone.
func (f *feed) run(ctx context.Context, after fairlead.Cursor) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	beat := newBeat(ctx, f.s.cfg.Heartbeat)
	defer beat.stop()
	retry := time.Second + rand.N(2*time.Second) // spread, so that all do not come back at once
	if f.out.Position(f.s.cursor(f.start(after)), retry) != nil {
		return
	}
	var items [16]topic.Item
	for !f.over {
		n, err := f.r.Next(beat.wait(), items[:])
		switch {
		case errors.Is(err, errBeat):
			if beat.due() && f.out.Comment("") != nil {
				return
			}
			continue
		case err != nil:
			return
		}
		beat.heard()
		for i := range items[:n] {
			f.add(&items[i])
			if len(f.frame) >= maxFrame && f.flush() != nil {
				return
			}
		}
		if f.flush() != nil {
			return
		}
	}
}

// start returns the number of the event that the feed begins after, and tells
// of the gap when what was asked for is unknown.
func (f *feed) start(after fairlead.Cursor) uint64 {
	earliest, latest := f.s.bounds()
	switch {
	case after == fairlead.Latest:
		return latest
	case after != fairlead.Earliest:
		return number(after)
	}
	begin := max(earliest, 1) - 1
	if f.unknown != "" {
		f.gap(begin, gapData{After: f.unknown, Earliest: f.s.cursor(earliest)})
	} else if begin > 0 {
		skipped := begin
		f.gap(begin, gapData{After: f.s.cursor(0), Earliest: f.s.cursor(earliest), Skipped: &skipped})
	}
	return begin
}

func (f *feed) flush() error {
	if len(f.frame) == 0 {
		return nil
	}
	_, err := f.out.Write(f.frame)
	f.frame = f.frame[:0]
	return err
}

func (f *feed) add(item *topic.Item) {
	switch item.Kind {
	case topic.KindEvent:
		f.frame = append(f.frame, item.Record.Event.Data...)
	case topic.KindGap, topic.KindLag:
		g := item.Gap
		f.gap(number(item.Cursor), gapData{After: f.s.cursor(number(g.After)), Earliest: f.s.cursor(number(g.Earliest)), Skipped: &g.Skipped})
	case topic.KindEnd:
		f.control(fairlead.TypeEnd, number(item.Cursor), struct{}{})
		f.over = true
	case topic.KindFault:
		f.control(fairlead.TypeFault, number(item.Cursor), struct {
			Code    fairlead.Code `json:"code"`
			Message string        `json:"message"`
		}{item.Fault.Code, item.Fault.Message})
		f.over = true
	}
}

// gapData is what a gap event says. Skipped is null when nobody knows.
type gapData struct {
	After    string  `json:"after"`
	Earliest string  `json:"earliest"`
	Skipped  *uint64 `json:"skipped"`
}

func (f *feed) gap(seq uint64, data gapData) { f.control(fairlead.TypeGap, seq, data) }

// control adds a control event.
func (f *feed) control(kind string, seq uint64, data any) {
	payload, err := json.Marshal(data)
	if err != nil {
		panic(err) // strings and numbers marshal
	}
	f.frame, err = sse.Append(f.frame, sse.Event{ID: f.s.cursor(seq), Type: kind, Data: payload})
	if err != nil {
		panic(err) // our own cursors and types are fit to be written
	}
}

// etag is a strong one: a recorded body does not change.
func (s *stream) etag() string { return strconv.Quote(s.short() + "-" + s.id[lifeLen:lifeLen+6]) }
