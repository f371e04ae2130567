package deliver

import (
	"errors"

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

// batch is how many items a session reads at once.
const batch = 32

// subscribe admits a reader of the query's topics. It returns nil, without an
// error, when the reader is past the end of them all. The caller closes the
// reader.
func (h *Handler) subscribe(q *query, otherwise fairlead.Cursor, reader *topic.Reader) (*subscription, error) {
	s := &subscription{reader: reader, places: newPlaces(q.topics), items: make([]topic.Item, batch)}
	if err := s.places.parse(q.after, otherwise); err != nil {
		return nil, err
	}
	for i, name := range q.topics {
		l, err := h.cfg.Topics.Get(name)
		if err != nil {
			return nil, err
		}
		start, err := add(reader, l, s.places.cursors[i])
		if errors.Is(err, topic.ErrPastEnd) {
			continue
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

// add lets the reader read a log, and returns the cursor it stands at: its own,
// lest a gap that it has not been told of be forgotten, or the one that its
// word stands for now.
func add(reader *topic.Reader, l *topic.Log, after fairlead.Cursor) (fairlead.Cursor, error) {
	if after == fairlead.Latest {
		after = l.Bounds().Latest // which stays true whatever is appended meanwhile
		return after, reader.Add(l, after)
	}
	if err := reader.Add(l, after); err != nil || !after.IsWord() {
		return after, err
	}
	for _, at := range reader.Status() {
		if at.Topic == l.Name() {
			return at.Cursor, nil
		}
	}
	return after, nil // the reader was closed meanwhile
}

// beforeEnd subscribes from in front of the end that the query's cursor is past.
func (h *Handler) beforeEnd(q *query, reader *topic.Reader) (*subscription, error) {
	back := *q
	back.after = string(stepBack(fairlead.Cursor(q.after)))
	s, err := h.subscribe(&back, fairlead.Earliest, reader)
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
