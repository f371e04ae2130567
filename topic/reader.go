package topic

import (
	"sync"

	"github.com/fairlead-edge/fairlead"
)

// Reader reads a set of logs, from a cursor in each. Add, Remove, Status and
// Close may be called at any time; Next, Poll and PollSome from one goroutine at
// a time.
type Reader struct {
	// Unpaced exempts the reader from Policy.Rate: for pages, where the client
	// sets the pace by asking. To be set before Add.
	Unpaced bool

	closed bool // guarded by mu
	mu     sync.Mutex
	waker  Waker // told when the ready list grows; a *waiter when Next may be called

	ready, last *sub // have something to pull, in turn, linked by next; guarded by mu
	timed       *sub // are held back by a rate, linked by nextTimed; guarded by mu
	unacked     *sub // handed out by the last call, linked by nextUnacked; owned by its goroutine

	// Most readers read one log, and have no map.
	one  *sub          // guarded by mu
	rest map[*Log]*sub // guarded by mu
}

// NewReader returns a reader of no logs. Close it to leave them.
func NewReader() *Reader { return &Reader{waker: &waiter{token: make(chan struct{}, 1)}} }

// NewWokenReader returns a reader of no logs that is only polled, and costs
// less for that. w is woken when Poll may have something that the latest Poll
// had not: what that left behind when it ended early, and a time that PollSome
// told, are the caller's to come back for. Where publishers wait for readers,
// under [Wait] and with Policy.Patience, w is also woken by a Poll that handed
// something out, for the next one to say that it was consumed: there the caller
// should not poll before that is so. Close ends the waking, but for calls that
// are being made. Next must not be called: it panics.
func NewWokenReader(w Waker) *Reader { return &Reader{waker: w} }

// Add reads l after the cursor, or from where one of the words [fairlead.Earliest],
// [fairlead.Latest] and [fairlead.Snapshot] says. A cursor from another life
// of the log, or from another log, is told as a gap. Under [Wait] a cursor of
// this life also says that all up to it was consumed.
//
// Its errors: [ErrPastEnd]; or an *[fairlead.Error]: InvalidArgument for what
// is no cursor, Conflict when the policy allows one reader and there is one or
// when l is read already, NotFound when l was removed from its store, Cancelled
// after Close.
func (r *Reader) Add(l *Log, after fairlead.Cursor) error {
	s := &sub{log: l, reader: r, index: -1, on: true}
	r.mu.Lock()
	err := r.put(s)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.attach(s, after); err != nil {
		r.mu.Lock()
		if s.on { // else somebody removed it meanwhile
			r.take(l)
		}
		r.mu.Unlock()
		return err
	}
	r.push(s)
	return nil
}

// put makes s one of the reader's. r.mu is held.
func (r *Reader) put(s *sub) error {
	switch {
	case r.closed:
		return fairlead.Errorf(fairlead.Cancelled, "the reader is closed")
	case r.find(s.log) != nil:
		return fairlead.Errorf(fairlead.Conflict, "the topic %q is subscribed already", s.log.name)
	case r.one == nil:
		r.one = s
	case r.rest == nil:
		r.rest = map[*Log]*sub{s.log: s}
	default:
		r.rest[s.log] = s
	}
	return nil
}

// find returns the reader's place in l; nil when it does not read it. r.mu is held.
func (r *Reader) find(l *Log) *sub {
	if r.one != nil && r.one.log == l {
		return r.one
	}
	return r.rest[l]
}

// take takes the place in l from the reader and returns it. r.mu is held.
func (r *Reader) take(l *Log) *sub {
	s := r.find(l)
	if s == nil {
		return nil
	}
	if s == r.one {
		r.one = nil
	} else {
		delete(r.rest, l)
	}
	s.on = false
	r.unlink(s)
	return s
}

// Remove stops reading l and reports whether it was read. Items of l that
// Next has returned stay valid.
func (r *Reader) Remove(l *Log) bool {
	r.mu.Lock()
	s := r.take(l)
	r.mu.Unlock()
	if s == nil {
		return false
	}
	l.detach(s)
	return true
}

// Close stops reading all logs. What was returned by the last Next counts as
// not consumed.
func (r *Reader) Close() {
	r.mu.Lock()
	subs := r.subs()
	r.closed, r.one, r.rest = true, nil, nil
	for _, s := range subs {
		s.on, s.next, s.nextTimed = false, nil, nil
		s.queued.Store(false)
	}
	r.ready, r.last, r.timed = nil, nil, nil
	r.mu.Unlock()
	for _, s := range subs {
		s.log.detach(s)
	}
}

// subs returns the reader's places, in no order. r.mu is held.
func (r *Reader) subs() []*sub {
	subs := make([]*sub, 0, len(r.rest)+1)
	if r.one != nil {
		subs = append(subs, r.one)
	}
	for _, s := range r.rest {
		subs = append(subs, s)
	}
	return subs
}

// Status says where a reader stands in one log.
type Status struct {
	Topic   string          // name of the log
	Cursor  fairlead.Cursor // last event handed out or passed over
	Lag     uint64          // events after it
	Skipped uint64          // passed over by policy since the reader came
	// LagBytes are those of the events after it that are retained, as Policy.Bytes
	// counts them without RecordOverhead.
	LagBytes uint64
}

// Position returns where the reader stands in l: after the last item it was
// handed, or where it began. When that was the last of a snapshot, or the
// snapshot was empty, it is where that was taken. It is empty when l is not read.
func (r *Reader) Position(l *Log) fairlead.Cursor {
	r.mu.Lock()
	s := r.find(l)
	r.mu.Unlock()
	if s == nil {
		return ""
	}
	return s.status().Cursor
}

// Status returns the reader's place in each of its logs, in no order.
func (r *Reader) Status() []Status {
	r.mu.Lock()
	subs := r.subs()
	r.mu.Unlock()
	status := make([]Status, len(subs))
	for i, s := range subs {
		status[i] = s.status()
	}
	return status
}
