package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
)

// subscription is a reader at its start.
type subscription struct {
	reader  *topic.Reader
	places  *places
	resumed bool
	items   []topic.Item // the buffer of its reads; the first pending ones are read
	pending int
	open    int // topics that have not ended for it
}

// read returns the items that are read already; nil for none, so that an idle
// session does not keep their buffer.
func (s *subscription) read() []topic.Item {
	if s.pending == 0 {
		return nil
	}
	return s.items[:s.pending]
}

const (
	// batch is how many items are read to see whether a gap is the first.
	batch = 32

	// A topic that has its one reader is tried again that often, that far
	// apart: a client that comes back meets its own predecessor, whose end has
	// yet to be noticed.
	busyTries = 20
	busyPause = 50 * time.Millisecond
)

// subscribe admits a reader of the query's topics. It returns nil, without an
// error, when the reader is past the end of them all. The caller closes the
// reader.
func (h *Handler) subscribe(ctx context.Context, q *query, reader *topic.Reader) (*subscription, error) {
	s := &subscription{reader: reader, places: newPlaces(q.topics), items: make([]topic.Item, q.batch)}
	if err := s.places.parse(q.after, q.fresh); err != nil {
		return nil, err
	}
	for i, name := range q.topics {
		start, err := h.enter(ctx, reader, name, s.places.cursors[i])
		if errors.Is(err, topic.ErrPastEnd) || (len(q.topics) > 1 && removed(err) && !s.places.cursors[i].IsWord()) {
			continue // one that was removed must not keep the others from a reader that was told so
		}
		if err != nil {
			return nil, err
		}
		s.resumed = s.resumed || !s.places.cursors[i].IsWord()
		s.places.cursors[i] = start
		s.open++
	}
	if s.open == 0 {
		return nil, nil
	}
	if q.failOnGap {
		s.pending = reader.Poll(s.items)
		for i := range s.items[:s.pending] {
			if item := &s.items[i]; item.Kind == topic.KindGap {
				return nil, &gapError{gapOf(item, "")}
			}
		}
	}
	return s, nil
}

// enter lets the reader read the topic of the name.
func (h *Handler) enter(ctx context.Context, reader *topic.Reader, name string, after fairlead.Cursor) (fairlead.Cursor, error) {
	l, err := h.cfg.Topics.Get(name)
	if err != nil {
		return after, err
	}
	for try := 0; ; try++ {
		start, err := add(reader, l, after)
		if !busy(err) || try == busyTries || !pause(ctx) {
			return start, err
		}
	}
}

// pause waits before a topic is tried again, and reports whether ctx goes on.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(busyPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// busy reports whether the error of add is that the topic has its one reader.
func busy(err error) bool { return err != nil && fairlead.AsError(err).Code == fairlead.Conflict }

func removed(err error) bool { return err != nil && fairlead.AsError(err).Code == fairlead.NotFound }

// add lets the reader read a log, and returns the cursor it stands at: its own,
// lest a gap that it has not been told of be forgotten, or the one that its
// word stands for now.
func add(reader *topic.Reader, l *topic.Log, after fairlead.Cursor) (fairlead.Cursor, error) {
	if err := reader.Add(l, after); err != nil || !after.IsWord() {
		return after, err
	}
	return reader.Position(l), nil // which moves only when the reader reads
}

// beforeEnd subscribes from in front of the end that the query's cursor is past.
func (h *Handler) beforeEnd(ctx context.Context, q *query, reader *topic.Reader) (*subscription, error) {
	at := newPlaces(q.topics)
	if err := at.parse(q.after, q.fresh); err != nil {
		return nil, err
	}
	back := *q
	back.after = string(stepBack(at.cursors[0]))
	s, err := h.subscribe(ctx, &back, reader)
	if s == nil && err == nil {
		err = fairlead.Errorf(fairlead.InvalidArgument, "the topic ended meanwhile; ask again")
	}
	return s, err
}

// stepBack returns the cursor before c, which is one of a log that has ended.
func stepBack(c fairlead.Cursor) fairlead.Cursor {
	life, seq, err := c.Parse()
	if err != nil || seq == 0 {
		return c
	}
	return fairlead.NewCursor(life, seq-1)
}

func gapOf(item *topic.Item, name string) wire.Gap {
	g := wire.Gap{Topic: name, After: item.Gap.After, Earliest: item.Gap.Earliest}
	if !item.Gap.Unknown {
		g.Skipped = &item.Gap.Skipped
	}
	return g
}
