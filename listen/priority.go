package listen

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Priorities of HTTP/2 (RFC 9218). The server of net/http writes the streams of
// a connection in turns, all alike; here it is given, at one time, only what is
// most urgent. The server of HTTP/3 does this by itself, and when that of
// HTTP/2 does, this file and prioritywriter.go can go.
const (
	// A response is written in pieces that fit a frame, so that what becomes
	// urgent waits for little.
	piece = 16 << 10
	// Of responses alike, one is on its way while the next is made ready.
	atOneTime = 2
	// A piece that takes longer waits for its own stream: its client does not
	// read that one, but may well read others.
	turnTime = 500 * time.Millisecond
	// While there is one of those, the next that hangs is found sooner.
	shortTurn = 50 * time.Millisecond
	// Between two pieces of a response its handler may get the next from
	// elsewhere. So long nothing less urgent is begun: it would be in the way.
	pause = 2 * time.Millisecond
)

// turns says whose piece is written next on a connection.
type turns struct {
	mu      sync.Mutex
	holders [atOneTime]*turn
	paused  *turn   // the most urgent of those that go on soon
	waiting []*turn // at most one for each of Limits.Streams
	aware   bool    // the client has told a priority
	hung    int     // pieces that hang, and have lost their turn
	clock   uint64  // counts requests and, of those incremental, pieces
	timer   *time.Timer
}

// turn is the part of one response.
type turn struct {
	of          *turns
	ctx         context.Context
	urgency     int
	incremental bool
	order       uint64 // among those of the same urgency
	hangs       bool   // its piece does, and has lost its turn
	slow        bool   // it did before

	since time.Time // when it began to wait, to write or to pause
	small bool      // a few events that are to be flushed
	ready chan struct{}
}

// join makes a request take part.
func (t *turn) join(of *turns, r *http.Request) {
	p := parsePriority(r.Header["Priority"])
	t.of, t.ctx = of, r.Context()
	of.mu.Lock()
	defer of.mu.Unlock()
	of.aware = of.aware || p.told
	of.clock++
	t.order = of.clock
	// A client that never tells one does not know of priorities, and is served
	// as before there were any: in turns (RFC 9218, section 10).
	t.urgency, t.incremental = p.apply(defaultUrgency, !of.aware)
}

// override applies what the handler says of its response (RFC 9218, section 8).
func (t *turn) override(values []string) {
	p := parsePriority(values)
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.urgency, t.incremental = p.apply(t.urgency, t.incremental)
}

// take waits until it is the response's turn to write a piece. A small one waits
// no longer than turnTime, and nothing does whose request has ended.
func (t *turn) take(small bool) {
	ts := t.of
	ts.mu.Lock()
	t.since = time.Now()
	t.small = small
	if ts.paused == t {
		ts.paused = nil
	}
	if len(ts.waiting) == 0 && ts.paused == nil && ts.holders == [atOneTime]*turn{} {
		ts.holders[0] = t // it is alone
		ts.mu.Unlock()
		return
	}
	ts.wait(t)
	ts.mu.Unlock()

	select {
	case <-t.ready:
	case <-t.ctx.Done():
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if !ts.forget(t) {
			<-t.ready // it was its turn after all
		}
	}
}

// wait puts t in line. ts.mu is held, here and below.
func (ts *turns) wait(t *turn) {
	if t.incremental {
		ts.clock++
		t.order = ts.clock
	}
	if t.ready == nil {
		t.ready = make(chan struct{}, 1)
	}
	ts.waiting = append(ts.waiting, t)
	if ts.next(t.since); len(ts.waiting) != 1 {
		return // it is awake, or nobody waits
	}
	if ts.hung > 0 {
		ts.wake(shortTurn)
	} else {
		ts.wake(turnTime)
	}
}

// give ends the turn, if it was not taken away.
func (t *turn) give() {
	ts := t.of
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.hangs {
		t.hangs = false
		ts.hung--
	}
	i := slices.Index(ts.holders[:], t)
	if i < 0 {
		return
	}
	ts.holders[i] = nil
	if len(ts.waiting) == 0 {
		return
	}
	t.since = time.Now()
	if !t.small && (ts.paused == nil || t.before(ts.paused)) {
		ts.paused = t
		ts.wake(pause)
	}
	ts.next(t.since)
}

// leave says that nothing more is written.
func (t *turn) leave() {
	ts := t.of
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.paused == t {
		ts.paused = nil
		ts.next(time.Now())
	}
}

// next gives free turns to those first in line.
func (ts *turns) next(now time.Time) {
	for i, h := range ts.holders {
		if h != nil || len(ts.waiting) == 0 {
			continue
		}
		first := ts.waiting[0]
		for _, t := range ts.waiting[1:] {
			if t.before(first) {
				first = t
			}
		}
		if ts.paused.outranks(first) || ts.holders[0].outranks(first) || ts.holders[1].outranks(first) {
			return
		}
		ts.forget(first)
		ts.holders[i] = first
		first.since = now
		first.ready <- struct{}{}
	}
}

// outranks reports whether u is not to be written before t has been.
func (t *turn) outranks(u *turn) bool {
	if t == nil || t.slow {
		return false
	}
	return t.urgency < u.urgency || t.urgency == u.urgency && !t.incremental && t.before(u)
}

// before orders by urgency, then those that are of use only as a whole by their
// requests, then the others in turns.
func (t *turn) before(u *turn) bool {
	if t.urgency != u.urgency {
		return t.urgency < u.urgency
	}
	if t.incremental != u.incremental {
		return u.incremental
	}
	return t.order < u.order
}

// forget takes t out of those waiting, and reports whether it was one.
func (ts *turns) forget(t *turn) bool {
	for i, w := range ts.waiting {
		if w == t {
			last := len(ts.waiting) - 1
			ts.waiting[i] = ts.waiting[last]
			ts.waiting[last] = nil
			ts.waiting = ts.waiting[:last]
			return true
		}
	}
	return false
}

// wake has overdue called after d. It is called while somebody waits, and once
// more, so that a connection on which nobody does has no timer.
func (ts *turns) wake(d time.Duration) {
	if ts.timer == nil {
		ts.timer = time.AfterFunc(d, ts.overdue)
		return
	}
	ts.timer.Reset(d)
}

// overdue takes the turns of pieces that hang, ends pauses, and lets small ones
// go that have waited enough.
func (ts *turns) overdue() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := time.Now()
	soonest := turnTime
	due := func(t *turn, after time.Duration) bool {
		left := after - now.Sub(t.since)
		if left > 0 {
			soonest = min(soonest, left)
		}
		return left <= 0
	}
	if ts.paused != nil && due(ts.paused, pause) {
		ts.paused = nil
	}
	most := turnTime
	if ts.hung > 0 {
		most = shortTurn
	}
	for i, h := range ts.holders {
		if h != nil && due(h, most) {
			h.hangs, h.slow = true, true
			ts.hung++
			ts.holders[i] = nil
			soonest = shortTurn
		}
	}
	ts.next(now)
	for _, t := range slices.Backward(ts.waiting) { // forget moves the last
		if t.small && due(t, turnTime) {
			ts.forget(t)
			t.ready <- struct{}{}
		}
	}
	if len(ts.waiting) > 0 {
		ts.wake(soonest)
	}
}
