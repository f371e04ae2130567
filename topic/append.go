package topic

import (
	"context"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// Batch is what one publish appends: all of it or nothing.
type Batch struct {
	// Events are stored in this order. Topic and Cursor are set by the log,
	// Time too when it is zero. Their data must not be changed afterwards.
	Events []fairlead.Event
	// Close ends the log after the events.
	Close bool
	// IdempotencyKey makes a repeated append harmless while the last event of
	// the first one is retained: the first result is returned again. Empty: no key.
	IdempotencyKey string
	// Fingerprint identifies the request that carried the key; a key used
	// again with another fingerprint is refused.
	Fingerprint [32]byte
}

// Result says what an append stored.
type Result struct {
	First, Last fairlead.Cursor // cursors of the first and the last event; of no events, the log's latest
	Count       int             // events
	Repeated    bool            // the append had been made before under its key
}

// Append stores the batch and wakes the readers. Only under the policy Wait,
// or with Patience, does it wait for readers: until there is room, ctx is done
// or the policy's time is up.
//
// Its errors are of type *[fairlead.Error]: Conflict when the log is closed,
// TooLarge for what could never be retained, KeyReused, and Overloaded when
// the one reader of a Wait topic did not make room in time; or ctx's cause.
func (l *Log) Append(ctx context.Context, b Batch) (Result, error) {
	l.mu.Lock()
	res, err := l.append(ctx, b)
	l.mu.Unlock()
	if err == nil && !res.Repeated {
		l.notify()
	}
	return res, err
}

func (l *Log) append(ctx context.Context, b Batch) (Result, error) {
	if res, found, err := l.repeated(b); found || err != nil {
		return res, err
	}
	records, size, err := l.policy.prepare(b.Events)
	if err != nil {
		return Result{}, err
	}
	if l.policy.holds() {
		if err := l.makeRoom(ctx, len(records), size); err != nil {
			return Result{}, err
		}
		// Whoever else waited may have appended this very batch meanwhile.
		if res, found, err := l.repeated(b); found || err != nil {
			return res, err
		}
	}
	if l.state != open {
		return Result{}, l.closedError()
	}
	now := time.Now()
	for _, r := range records {
		l.push(r, now)
	}
	res := Result{Count: len(records)}
	if n := len(records); n > 0 {
		res.First, res.Last = records[0].Event.Cursor, records[n-1].Event.Cursor
	} else {
		res.Last = l.cursor(l.next - 1)
		res.First = res.Last
	}
	if b.IdempotencyKey != "" {
		l.remember(&idempotent{b.IdempotencyKey, b.Fingerprint, res, l.next - 1})
	}
	if b.Close {
		l.state = ended
		l.wakeAppends()
	}
	l.lastUse = now.UnixNano()
	l.evict(l.lastUse)
	l.cool()
	return res, nil
}

// repeated looks the batch's idempotency key up.
func (l *Log) repeated(b Batch) (res Result, found bool, err error) {
	if b.IdempotencyKey == "" || l.extra == nil {
		return Result{}, false, nil
	}
	k := l.extra.byKey[b.IdempotencyKey]
	if k == nil {
		return Result{}, false, nil
	}
	if k.fingerprint != b.Fingerprint {
		return Result{}, false, fairlead.Errorf(fairlead.KeyReused, "this Idempotency-Key was used with another request; use a new key for a new publish")
	}
	res = k.result
	res.Repeated = true
	return res, true, nil
}

func (l *Log) remember(k *idempotent) {
	x := l.more()
	if x.byKey == nil {
		x.byKey = make(map[string]*idempotent)
	}
	x.byKey[k.key] = k
	x.keyed = append(x.keyed, k)
}

// prepare makes records of the events, whose sizes it sums up, unless the policy
// could never retain them.
func (p *Policy) prepare(events []fairlead.Event) (records []*Record, size int64, err error) {
	records = make([]*Record, len(events))
	for i := range events {
		r := &Record{Event: events[i]}
		s := r.size()
		if s > p.Bytes {
			return nil, 0, fairlead.Errorf(fairlead.TooLarge, "the event takes %d bytes; this topic retains %d in all", s, p.Bytes)
		}
		size += s
		records[i] = r
	}
	if p.Deliver == Wait && (len(records) > p.Events || size > p.Bytes) {
		return nil, 0, fairlead.Errorf(fairlead.TooLarge, "the batch is larger than what this topic retains (%d events, %d bytes); split it", p.Events, p.Bytes)
	}
	return records, size, nil
}

// makeRoom waits until count events of size bytes fit without evicting what
// is owed to a reader.
func (l *Log) makeRoom(ctx context.Context, count int, size int64) error {
	limit := l.policy.Patience
	if l.policy.Deliver == Wait {
		limit = l.policy.WaitTimeout
	}
	l.expire(time.Now().UnixNano())
	var timer *time.Timer
	for l.state == open && !l.fits(count, size) {
		if timer == nil {
			timer = time.NewTimer(limit)
			defer timer.Stop()
		}
		timedOut, err := l.awaitRoom(ctx, timer.C)
		if err != nil {
			return err
		}
		if !timedOut || l.fits(count, size) {
			continue
		}
		if l.policy.Deliver == Wait {
			e := fairlead.Errorf(fairlead.Overloaded, "the retention of this topic is full of events its reader has not read; try again later")
			e.RetryAfter = limit
			return e
		}
		return nil // patience is over
	}
	return nil
}

// fits reports whether the events would fit after evicting what nobody is owed,
// or no wait would help them to.
func (l *Log) fits(count int, size int64) bool {
	count += len(l.records) - l.head
	size += l.size
	if count <= l.policy.Events && size <= l.policy.Bytes {
		return true
	}
	held := l.held()
	for seq := l.first(); seq < l.next && seq < held; seq++ {
		count--
		size -= l.at(seq).size()
		if count <= l.policy.Events && size <= l.policy.Bytes {
			return true
		}
	}
	return held >= l.next // larger than the retention: only what it holds can be waited for
}

func (l *Log) push(r *Record, now time.Time) {
	r.seq, r.at = l.next, now.UnixNano()
	r.Event.Topic, r.Event.Cursor = l.name, l.cursor(l.next)
	if r.Event.Time.IsZero() {
		r.Event.Time = now
	}
	// Reuse the room that evicted records left rather than grow.
	if len(l.records) == cap(l.records) && l.head > len(l.records)/2 {
		n := copy(l.records, l.records[l.head:])
		clear(l.records[n:])
		l.records, l.head = l.records[:n], 0
	}
	r.end = uint32(r.weight()) //nolint:gosec // only differences of it count
	if len(l.records) > l.head {
		r.end += l.records[len(l.records)-1].end
	}
	l.records = append(l.records, r)
	l.next++
	l.size += r.size()
	if r.Event.Critical {
		l.critical = r.seq
	}
	if l.policy.Deliver == LatestPerKey && r.Event.Key != "" {
		l.supersede(r)
	}
}

// supersede makes r the latest of its key.
func (l *Log) supersede(r *Record) {
	x := l.more()
	if x.keys == nil {
		x.keys = make(map[string]*Record)
	}
	if old := x.keys[r.Event.Key]; old != nil {
		old.superseded = true
	}
	x.keys[r.Event.Key] = r
}

func (l *Log) closedError() error {
	if l.removed {
		return errRemoved
	}
	return fairlead.Errorf(fairlead.Conflict, "the topic is closed; nothing can be published to it any more")
}

var errRemoved = fairlead.Errorf(fairlead.NotFound, "the topic was removed")
