package listen

import (
	"context"
	"net/http"
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
	// One is on its way to the socket while the next is made ready.
	atOneTime = 2
	// A piece that takes longer waits for its own stream: its client does not
	// read that one, but may well read others.
	turnTime = 500 * time.Millisecond
)

// turns says whose piece is written next on a connection.
type turns struct {
	mu      sync.Mutex
	holders [atOneTime]*turn
	waiting []*turn // at most one for each of Limits.Streams
	aware   bool    // the client has told a priority
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

	since time.Time // when it began to wait, or to write
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
	for i, h := range ts.holders {
		if h == nil {
			ts.holders[i] = t
			ts.mu.Unlock()
			return
		}
	}
	t.small = small
	if t.incremental {
		ts.clock++
		t.order = ts.clock
	}
	if t.ready == nil {
		t.ready = make(chan struct{}, 1)
	}
	if len(ts.waiting) == 0 {
		ts.wake(turnTime)
	}
	ts.waiting = append(ts.waiting, t)
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

// give ends the turn, if it was not taken away.
func (t *turn) give() {
	ts := t.of
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for i, h := range ts.holders {
		if h == t {
			ts.holders[i] = nil
			ts.next(time.Now())
			return
		}
	}
}

// next gives free turns to those first in line. ts.mu is held, here and below.
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
		ts.forget(first)
		ts.holders[i] = first
		first.since = now
		first.ready <- struct{}{}
	}
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

// overdue takes the turns of pieces that hang, and lets small ones go that have
// waited enough.
func (ts *turns) overdue() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	now := time.Now()
	soonest := turnTime
	due := func(t *turn) bool {
		left := turnTime - now.Sub(t.since)
		if left > 0 {
			soonest = min(soonest, left)
		}
		return left <= 0
	}
	for i, h := range ts.holders {
		if h != nil && due(h) {
			ts.holders[i] = nil
		}
	}
	ts.next(now)
	for i := len(ts.waiting) - 1; i >= 0; i-- {
		if t := ts.waiting[i]; t.small && due(t) {
			ts.forget(t)
			t.ready <- struct{}{}
		}
	}
	if len(ts.waiting) > 0 {
		ts.wake(soonest)
	}
}
