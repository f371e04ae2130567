package topic

import (
	"errors"
	"slices"
	"sync/atomic"
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
	next   *sub        // on reader.ready; guarded by Reader.mu
	queued atomic.Bool // on reader.ready; changed under Reader.mu
	on     bool        // the reader's; guarded by Reader.mu

	unacked bool  // on reader.unacked; the polling goroutine's
	confirm bool  // publishers wait to hear that it was consumed; the polling goroutine's
	kept    bool  // what it has yet to read was retained while it was here
	done    bool  // nothing follows
	index   int32 // in log.subs, -1 when it is not there; guarded by Log.subsMu

	nextUnacked *sub // on reader.unacked; the polling goroutine's
	nextTimed   *sub // on reader.timed; guarded by Reader.mu
	// heldUntil is when the rate lets the log go on, Unix nanoseconds; 0 when
	// it is not on reader.timed. Guarded by Reader.mu.
	heldUntil int64

	pos     uint64 // number of the last event handed out or passed over
	told    uint64 // number of the last item's cursor, or where it started
	acked   uint64 // number of the last event known to be consumed
	skipped uint64 // passed over since the last item
	total   uint64 // passed over since the reader came
	due     int64  // Rate: not before this, Unix nanoseconds
	start   *start // what it is owed first; nil when it has been
}

// pulled is what a pull came to.
type pulled struct {
	n       int   // items
	bytes   int   // of their data
	more    bool  // there is something left to pull at once
	at      int64 // unless 0, there will be at that time, Unix nanoseconds
	confirm bool  // publishers wait for what was handed out to be consumed
}

// pull fills buf with what s is owed, until that is most bytes of data, and
// advances it. ack says that what it handed out before was consumed.
func (s *sub) pull(buf []Item, most int, now int64, ack bool) (p pulled) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if ack {
		s.consumed()
	}
	l.expire(now)
	if s.done {
		return p
	}
	p.n, p.bytes, p.at = s.fill(buf, most, now)
	p.more = p.at == 0 && !s.done && (s.pos+1 < l.next || l.state != open)
	p.confirm = p.n > 0 && l.policy.holds()
	return p
}

// fill hands out what s is owed, until that is most bytes of events, and up to what
// a rate holds back until the time at.
func (s *sub) fill(buf []Item, most int, now int64) (n, bytes int, at int64) {
	l := s.log
	for n < len(buf) && bytes < most {
		if s.start != nil || s.pos+1 < l.first() {
			if item, ok := s.preface(); ok {
				buf[n] = item
				n++
				if s.done {
					return n, bytes, 0
				}
				if item.Record != nil {
					bytes += item.Record.weight()
				}
				continue
			}
		}
		if s.pos+1 >= l.next {
			if l.state != open {
				buf[n] = s.last()
				n++
			}
			return n, bytes, 0
		}
		if s.passOver(); s.pos+1 >= l.next {
			continue
		}
		r := l.at(s.pos + 1)
		if l.passesOver(r) {
			return n, bytes, 0 // there is more, for the next pull
		}
		if at := s.notBefore(r, now); at > now {
			return n, bytes, at
		}
		buf[n] = s.event(r)
		n++
		bytes += r.weight()
	}
	return n, bytes, 0
}

// passesAtOnce is how many events are passed over at most while the log is locked.
const passesAtOnce = 4096

// passOver goes on to the next event that the policy owes s, or as far as may be.
func (s *sub) passOver() {
	l := s.log
	from := s.pos
	if last := l.next - 1; l.policy.Deliver == Newest && l.critical <= s.pos {
		s.pos = max(s.pos, last-min(last, uint64(l.policy.Newest)))
	}
	for range passesAtOnce {
		if s.pos+1 >= l.next || !l.passesOver(l.at(s.pos+1)) {
			break
		}
		s.pos++
	}
	s.skipped += s.pos - from
}

// preface returns what comes before the next event in the log: a gap or an
// event of the snapshot.
func (s *sub) preface() (Item, bool) {
	l := s.log
	if s.start != nil && s.start.foreign != "" {
		g := Gap{After: s.start.foreign, Unknown: true}
		s.start = nil
		s.pos = l.first() - 1
		return s.gap(g), true
	}
	if missed := s.evicted(); missed > 0 {
		at := s.pos
		s.pos = l.first() - 1
		if l.lost > at || s.start != nil { // no policy skips a value of a snapshot
			return s.gap(Gap{After: l.cursor(s.told), Skipped: missed + s.takeSkipped()}), true
		}
		s.skipped += missed // the policy would have passed them over
	}
	if s.start == nil {
		return Item{}, false
	}
	return s.snapshotted()
}

// event hands r out.
func (s *sub) event(r *Record) Item {
	s.pos, s.told = r.seq, r.seq
	return Item{Kind: KindEvent, Log: s.log, Cursor: r.Event.Cursor, Record: r, Skipped: s.takeSkipped()}
}

// evicted counts what s has yet to read and is no longer retained.
func (s *sub) evicted() uint64 {
	first := s.log.first()
	if s.pos+1 >= first {
		return 0
	}
	if s.start == nil {
		return first - 1 - s.pos
	}
	gone, _ := slices.BinarySearch(s.start.snap, first)
	s.start.snap = s.start.snap[gone:]
	from := max(s.pos, s.start.end)
	return uint64(gone) + max(first-1, from) - from
}

// gap tells g, or that the reader is too slow; s.pos is just before the oldest
// retained event.
func (s *sub) gap(g Gap) Item {
	l := s.log
	g.Earliest = l.cursor(min(s.pos+1, l.next-1))
	if l.policy.OnLag == LagClose && s.kept {
		s.done = true
		l.wakeAppends()
		return Item{Kind: KindLag, Log: l, Cursor: g.After, Gap: g}
	}
	s.kept, s.told = true, s.pos
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

// passesOver reports whether the policy owes r to no reader any more: those
// that have not read it skip it, and when it is evicted it is no loss.
func (l *Log) passesOver(r *Record) bool {
	if r.Event.Critical {
		return false
	}
	switch l.policy.Deliver {
	case Newest:
		return l.next-r.seq > uint64(l.policy.Newest)
	case LatestPerKey:
		return r.superseded
	case Every, Wait:
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
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.consumed()
}

// consumed is ack when l.mu is held.
func (s *sub) consumed() {
	l := s.log
	if s.acked == s.pos {
		return
	}
	s.acked = s.pos // also without such a policy, for one may come
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
	if s.done {
		return nil // it was detached at once
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
	if l.policy.Deliver == Wait && !after.IsWord() && s.start == nil {
		// Who comes with a cursor consumed all before it, though the reader
		// that was handed it may have left without saying so, as those of
		// pages do.
		x := l.more()
		x.consumed = max(x.consumed, s.pos)
	}
	s.index = int32(len(l.subs))
	l.subs = append(l.subs, s)
	l.wakeAppends() // its cursor may be past what they wait for
	return nil
}

// detach takes s off its log.
func (l *Log) detach(s *sub) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastUse = time.Now().UnixNano()
	s.done = true
	if s.index < 0 {
		return // attach has yet to come
	}
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
	return Status{Topic: l.name, Cursor: l.cursor(s.pos), Lag: lag, LagBytes: l.bytesAfter(s.pos), Skipped: s.total + s.skipped}
}

// bytesAfter returns how many bytes of events are retained after a place, of which
// there are less than 4 GiB. l.mu is held.
func (l *Log) bytesAfter(seq uint64) uint64 {
	first := l.first()
	if seq+1 >= l.next || first == l.next {
		return 0
	}
	newest := l.at(l.next - 1).end
	if seq >= first {
		return uint64(newest - l.at(seq).end)
	}
	oldest := l.at(first)
	return uint64(newest-oldest.end) + uint64(oldest.weight()) //nolint:gosec // not negative
}
