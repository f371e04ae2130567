package topic

import (
	"maps"
	"slices"

	"github.com/fairlead-edge/fairlead"
)

// start is what few readers begin with, before the events from their cursor on.
type start struct {
	foreign fairlead.Cursor // a cursor that says nothing: a gap to tell; the rest is unused
	snap    []uint64        // snapshot: numbers to be handed out
	end     uint64          // where the snapshot was taken
}

// place sets the position a reader starts from. l.mu is held.
func (l *Log) place(s *sub, after fairlead.Cursor) error {
	switch after {
	case fairlead.Earliest:
		s.pos = l.first() - 1
	case fairlead.Latest:
		s.pos = l.next - 1
	case fairlead.Snapshot:
		s.start = &start{snap: l.snapshot(), end: l.next - 1}
		s.pos = l.first() - 1
		s.endSnapshot()
	default:
		life, seq, err := after.Parse()
		if err != nil {
			return err
		}
		switch {
		case life == l.life && seq < l.next:
			s.pos = seq
		case life == l.life && seq == l.next && l.state != open:
			return ErrPastEnd
		default:
			s.pos = l.first() - 1
			s.start = &start{foreign: after}
		}
	}
	s.acked, s.told = s.pos, s.pos
	s.kept = (s.start == nil || s.start.foreign == "") && s.pos+1 >= l.first()
	return nil
}

// snapshot returns the number of the latest retained event of each key, in
// order. Numbers and not records, lest a slow reader keep evicted events.
func (l *Log) snapshot() []uint64 {
	latest := make(map[string]uint64)
	for _, r := range l.records[l.head:] {
		if r.Event.Key != "" {
			latest[r.Event.Key] = r.seq
		}
	}
	return slices.Sorted(maps.Values(latest))
}

// snapshotted hands out the next event of the snapshot, if one is left.
func (s *sub) snapshotted() (Item, bool) {
	if len(s.start.snap) == 0 { // what was left of it has been evicted
		s.endSnapshot()
		return Item{}, false
	}
	l := s.log
	r := l.at(s.start.snap[0])
	s.start.snap = s.start.snap[1:]
	item := s.event(r)
	if s.endSnapshot() {
		s.told = s.pos
		item.Cursor = l.cursor(s.pos)
	}
	return item, true
}

// endSnapshot puts s where the snapshot was taken once all of it has been
// handed out, for it stands for all that was there, and reports whether it did.
func (s *sub) endSnapshot() bool {
	if len(s.start.snap) > 0 {
		return false
	}
	s.pos, s.start = max(s.pos, s.start.end), nil
	return true
}
