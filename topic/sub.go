package topic

import (
	"errors"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// ErrPastEnd is returned by [Reader.Add] for a cursor from past the end or the
// fault of a log: the reader has seen all there will ever be.
var ErrPastEnd = errors.New("topic: the cursor is past the end")

// sub is one cursor: a reader's place in a log. Its fields are guarded by
// Log.mu but for those said otherwise.
type sub struct {
	log    *Log
	reader *Reader
	index  int  // in log.subs; guarded by Log.subsMu
	queued bool // on reader.ready; guarded by Reader.mu
	// heldUntil is when the rate lets the log go on, Unix nanoseconds; 0 when
	// it is not on reader.timed. Guarded by Reader.mu.
	heldUntil int64

	pos     uint64    // number of the last event handed out or passed over
	acked   uint64    // number of the last event known to be consumed
	skipped uint64    // passed over since the last item
	total   uint64    // passed over since the reader came
	due     int64     // Rate: not before this, Unix nanoseconds
	foreign *Gap      // the start was a cursor that says nothing: a gap to tell first
	snap    []*Record // start snapshot: to be handed out first
	snapEnd uint64    // where the snapshot was taken
	live    bool      // it was at the head once
	done    bool      // nothing follows
}

// place sets the position a reader starts from. l.mu is held.
func (l *Log) place(s *sub, after fairlead.Cursor) error {
	switch after {
	case fairlead.Earliest:
		s.pos = l.first() - 1
	case fairlead.Latest:
		s.pos = l.next - 1
	case fairlead.Snapshot:
		s.snap, s.snapEnd = l.snapshot(), l.next-1
		s.pos = l.first() - 1
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
			s.foreign = &Gap{After: after, Unknown: true}
		}
	}
	s.acked = s.pos
	return nil
}

// snapshot returns the latest retained record of each key, oldest first.
func (l *Log) snapshot() []*Record {
	latest := make(map[string]*Record)
	for _, r := range l.records[l.head:] {
		if r.Event.Key != "" {
			latest[r.Event.Key] = r
		}
	}
	snap := make([]*Record, 0, len(latest))
	for _, r := range l.records[l.head:] {
		if r.Event.Key != "" && latest[r.Event.Key] == r {
			snap = append(snap, r)
		}
	}
	return snap
}

// pull fills buf with what s is owed and advances it. more says that there is
// something left to pull at once; at, unless 0, that there will be at that
// time (Unix nanoseconds).
func (s *sub) pull(buf []Item, now int64) (n int, more bool, at int64) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	if s.done {
		return 0, false, 0
	}
	for n < len(buf) {
		if item, ok := s.preface(); ok {
			buf[n] = item
			n++
			if s.done {
				return n, false, 0
			}
			continue
		}
		if s.pos+1 >= l.next {
			s.live = true
			if l.state != open {
				buf[n] = s.last()
				n++
			}
			return n, false, 0
		}
		r := l.at(s.pos + 1)
		if s.skips(r) {
			s.pos++
			s.skipped++
			continue
		}
		if at := s.notBefore(r, now); at > now {
			return n, false, at
		}
		s.pos++
		buf[n] = Item{Kind: KindEvent, Log: l, Cursor: r.Event.Cursor, Record: r, Skipped: s.takeSkipped()}
		n++
	}
	return n, s.pos+1 < l.next || l.state != open, 0
}

// preface returns what comes before the next event in the log: a gap or an
// event of the snapshot.
func (s *sub) preface() (Item, bool) {
	l := s.log
	if s.foreign != nil {
		g := *s.foreign
		s.foreign = nil
		s.pos = l.first() - 1
		return s.gap(g), true
	}
	if len(s.snap) > 0 {
		r := s.snap[0]
		s.snap = s.snap[1:]
		s.pos = r.seq
		return Item{Kind: KindEvent, Log: l, Cursor: r.Event.Cursor, Record: r}, true
	}
	if s.snapEnd > 0 { // the snapshot stands for all that was there
		s.pos, s.snapEnd = max(s.pos, s.snapEnd), 0
	}
	first := l.first()
	if s.pos+1 >= first {
		return Item{}, false
	}
	missed := first - 1 - s.pos
	if l.lost <= s.pos { // the policy would have passed them over
		s.skipped += missed
		s.pos = first - 1
		return Item{}, false
	}
	g := Gap{After: l.cursor(s.pos), Skipped: missed + s.takeSkipped()}
	if l.policy.OnLag == LagClose && s.live {
		s.done = true
		g.Earliest = l.cursor(min(first, l.next-1))
		return Item{Kind: KindLag, Log: l, Cursor: g.After, Gap: g}, true
	}
	s.pos = first - 1
	return s.gap(g), true
}

// gap tells g; s.pos is just before the oldest retained event.
func (s *sub) gap(g Gap) Item {
	l := s.log
	g.Earliest = l.cursor(min(s.pos+1, l.next-1))
	l.more().gaps++
	return Item{Kind: KindGap, Log: l, Cursor: l.cursor(s.pos), Gap: g}
}

// last returns the item after which nothing follows.
func (s *sub) last() Item {
	l := s.log
	s.done = true
	item := Item{Kind: KindEnd, Log: l, Cursor: l.cursor(l.next), Skipped: s.takeSkipped()}
	if l.state == faulted {
		item.Kind, item.Fault = KindFault, l.fault
	}
	return item
}

// skips reports whether the policy passes r over for this reader.
func (s *sub) skips(r *Record) bool {
	p := s.log.policy
	switch {
	case r.Event.Critical:
		return false
	case p.Deliver == Newest:
		return s.log.next-1-s.pos > uint64(p.Newest)
	case p.Deliver == LatestPerKey:
		return r.superseded
	}
	return false
}

// notBefore returns when r may be handed out under the policy's rate, and
// counts it if that is now.
func (s *sub) notBefore(r *Record, now int64) int64 {
	p := s.log.policy
	if p.Rate == 0 || s.reader.Unpaced || (p.Deliver != Newest && p.Deliver != LatestPerKey) || r.Event.Critical || s.log.critical > s.pos {
		return 0
	}
	if s.due > now {
		return s.due
	}
	s.due = now + int64(float64(time.Second)/p.Rate)
	return now
}

func (s *sub) takeSkipped() uint64 {
	n := s.skipped
	if n > 0 {
		s.skipped = 0
		s.total += n
		s.log.more().skipped += n
	}
	return n
}

// ack notes that all that was handed out has been consumed.
func (s *sub) ack() {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.acked == s.pos || !l.policy.holds() {
		return
	}
	s.acked = s.pos
	if l.policy.Deliver == Wait {
		x := l.more()
		x.consumed = max(x.consumed, s.acked)
	}
	l.wakeAppends()
}

// attach makes s one of the readers of its log.
func (l *Log) attach(s *sub, after fairlead.Cursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed {
		return errRemoved
	}
	l.expire(time.Now().UnixNano())
	if err := l.place(s, after); err != nil {
		return err
	}
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	if l.policy.Deliver == Wait && len(l.subs) > 0 {
		return fairlead.Errorf(fairlead.Conflict, "this topic delivers to one reader at a time and has one; close the other first")
	}
	s.index = len(l.subs)
	l.subs = append(l.subs, s)
	return nil
}

// detach takes s off its log.
func (l *Log) detach(s *sub) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastUse = time.Now().UnixNano()
	s.done = true
	l.subsMu.Lock()
	last := len(l.subs) - 1
	l.subs[s.index] = l.subs[last]
	l.subs[s.index].index = s.index
	l.subs[last] = nil
	l.subs = l.subs[:last]
	if last == 0 {
		l.subs = nil
	}
	l.subsMu.Unlock()
	l.wakeAppends()
}

// status says where the reader stands.
func (s *sub) status() Status {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	lag := uint64(0)
	if last := l.next - 1; last > s.pos {
		lag = last - s.pos
	}
	return Status{Topic: l.name, Cursor: l.cursor(s.pos), Lag: lag, Skipped: s.total + s.skipped}
}
