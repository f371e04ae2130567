package topic

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// pullBatch bounds what one log gives a reader before the next log's turn.
const pullBatch = 64

// Reader reads a set of logs, from a cursor in each. Add, Remove, Status and
// Close may be called at any time; Next and Poll from one goroutine.
type Reader struct {
	// Unpaced exempts the reader from Policy.Rate: for pages, where the client
	// sets the pace by asking. To be set before Add.
	Unpaced bool

	waker Waker // told when ready may have changed: a signal when Next waits

	mu    sync.Mutex
	subs  map[*Log]*sub // nil when closed
	ready []*sub        // ready[front:] have something to pull, in turn; one entry a log
	front int
	timed []*sub // are held back by a rate; one entry a log

	timer *time.Timer // of waits; owned by Next's goroutine

	unacked []*sub // handed out by the last call; owned by Next's goroutine
}

// Waker is told when a reader that is only polled has something to poll for.
type Waker interface {
	// Wake is called when the next Poll may have something: after an append, the
	// end or the fault of a log, a change of its policy, and Add. It is called by
	// whoever made that change, with locks of the log held: it must neither block
	// nor call the package. One call may stand for many changes.
	Wake()
}

// signal is the waker of a reader that waits: it holds a token when there may
// be something.
type signal chan struct{}

func (s signal) Wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// NewReader returns a reader of no logs. Close it to leave them.
func NewReader() *Reader { return newReader(make(signal, 1)) }

// NewWokenReader returns a reader of no logs that is only polled, and costs
// less for that. w is woken when Poll may have something that the latest Poll
// had not: what that left since it filled its buffer, and a time that PollDue
// told, are the caller's to come back for. Next must not be called: it panics.
func NewWokenReader(w Waker) *Reader { return newReader(w) }

func newReader(w Waker) *Reader { return &Reader{waker: w, subs: make(map[*Log]*sub)} }

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
	s := &sub{log: l, reader: r, index: -1}
	r.mu.Lock()
	if r.subs == nil {
		r.mu.Unlock()
		return fairlead.Errorf(fairlead.Cancelled, "the reader is closed")
	}
	if _, ok := r.subs[l]; ok {
		r.mu.Unlock()
		return fairlead.Errorf(fairlead.Conflict, "the topic %q is subscribed already", l.name)
	}
	r.subs[l] = s
	r.mu.Unlock()
	if err := l.attach(s, after); err != nil {
		r.mu.Lock()
		if r.subs[l] == s { // else somebody removed it meanwhile
			delete(r.subs, l)
		}
		r.mu.Unlock()
		return err
	}
	r.push(s)
	return nil
}

// Remove stops reading l and reports whether it was read. Items of l that
// Next has returned stay valid.
func (r *Reader) Remove(l *Log) bool {
	r.mu.Lock()
	s, ok := r.subs[l]
	if ok {
		delete(r.subs, l)
		r.ready = slices.Delete(r.ready, 0, r.front)
		r.front = 0
		is := func(other *sub) bool { return other == s }
		r.ready = slices.DeleteFunc(r.ready, is)
		r.timed = slices.DeleteFunc(r.timed, is)
	}
	r.mu.Unlock()
	if ok {
		l.detach(s)
	}
	return ok
}

// Close stops reading all logs. What was returned by the last Next counts as
// not consumed.
func (r *Reader) Close() {
	r.mu.Lock()
	subs := r.subs
	r.subs = nil
	r.ready, r.front, r.timed = nil, 0, nil
	r.mu.Unlock()
	for l, s := range subs {
		l.detach(s)
	}
}

// Next fills buf with what comes next, waiting for at least one item, and
// returns how many it holds. Calling it says that all it returned before was
// consumed. The error is ctx's cause.
func (r *Reader) Next(ctx context.Context, buf []Item) (int, error) {
	wake := r.waker.(signal)
	for {
		n, at := r.poll(buf)
		if n > 0 || len(buf) == 0 {
			return n, nil
		}
		select {
		case <-wake:
		case <-r.alarm(at):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// alarm returns a channel that has a value at the time (Unix nanoseconds), or
// never for 0. The reader has one timer for all its waits.
func (r *Reader) alarm(at int64) <-chan time.Time {
	if at == 0 {
		return nil
	}
	wait := time.Until(time.Unix(0, at))
	if r.timer == nil {
		r.timer = time.NewTimer(wait)
	} else {
		r.timer.Reset(wait)
	}
	return r.timer.C
}

// Poll is Next without waiting: 0 when there is nothing to read now.
func (r *Reader) Poll(buf []Item) int {
	n, _ := r.poll(buf)
	return n
}

// PollDue is Poll that also says when the first of the logs that are held back
// by their rate is due: the caller is to poll again then, for nothing wakes it.
// The zero time says that none is.
func (r *Reader) PollDue(buf []Item) (n int, due time.Time) {
	n, at := r.poll(buf)
	if at != 0 {
		due = time.Unix(0, at)
	}
	return n, due
}

// poll also returns when the first of the logs held back by their rate is due;
// 0 for none.
func (r *Reader) poll(buf []Item) (n int, at int64) {
	for _, s := range r.unacked {
		s.ack()
	}
	clear(r.unacked)
	r.unacked = r.unacked[:0]
	now := time.Now().UnixNano()
	r.release(now)
	for n < len(buf) {
		s := r.pop()
		if s == nil {
			break
		}
		room := min(len(buf)-n, pullBatch)
		got, more, due := s.pull(buf[n:n+room], now)
		if got > 0 {
			n += got
			r.unacked = append(r.unacked, s)
		}
		switch {
		case more:
			r.again(s)
		case due > 0:
			r.hold(s, due)
		}
	}
	return n, r.nextDue()
}

// push puts s on the ready list and wakes the reader, unless s is there.
func (r *Reader) push(s *sub) {
	if r.again(s) {
		r.waker.Wake()
	}
}

// again puts s on the ready list and reports whether it was not there.
func (r *Reader) again(s *sub) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.queued || r.subs[s.log] != s {
		return false
	}
	r.enqueue(s)
	return true
}

// enqueue puts s at the end of the ready list. r.mu is held.
func (r *Reader) enqueue(s *sub) {
	if len(r.ready) == cap(r.ready) && r.front > len(r.ready)/2 { // reuse what pop left
		r.ready = slices.Delete(r.ready, 0, r.front)
		r.front = 0
	}
	s.queued = true
	r.ready = append(r.ready, s)
}

// release makes the logs ready that were held back until now.
func (r *Reader) release(now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 0; i < len(r.timed); {
		s := r.timed[i]
		if s.heldUntil > now {
			i++
			continue
		}
		last := len(r.timed) - 1
		r.timed[i] = r.timed[last]
		r.timed = r.timed[:last]
		s.heldUntil = 0
		if !s.queued {
			r.enqueue(s)
		}
	}
}

// pop takes the next log that has something.
func (r *Reader) pop() *sub {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.front < len(r.ready) {
		s := r.ready[r.front]
		r.ready[r.front] = nil
		r.front++
		s.queued = false
		if r.subs[s.log] == s {
			return s
		}
	}
	r.ready, r.front = r.ready[:0], 0
	return nil
}

// hold puts s aside until due.
func (r *Reader) hold(s *sub, due int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subs[s.log] != s {
		return
	}
	if s.heldUntil == 0 {
		r.timed = append(r.timed, s)
	}
	s.heldUntil = due
}

// nextDue returns when the first of the logs held back is due; 0 for none.
func (r *Reader) nextDue() (due int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.timed {
		if due == 0 || s.heldUntil < due {
			due = s.heldUntil
		}
	}
	return due
}

// Status says where a reader stands in one log.
type Status struct {
	Topic   string          // name of the log
	Cursor  fairlead.Cursor // last event handed out or passed over
	Lag     uint64          // events after it
	Skipped uint64          // passed over by policy since the reader came
}

// Position returns where the reader stands in l: after the last item it was
// handed, or where it began. When that was the last of a snapshot, or the
// snapshot was empty, it is where that was taken. It is empty when l is not read.
func (r *Reader) Position(l *Log) fairlead.Cursor {
	r.mu.Lock()
	s, ok := r.subs[l]
	r.mu.Unlock()
	if !ok {
		return ""
	}
	return s.status().Cursor
}

// Status returns the reader's place in each of its logs, in no order.
func (r *Reader) Status() []Status {
	r.mu.Lock()
	subs := make([]*sub, 0, len(r.subs))
	for _, s := range r.subs {
		subs = append(subs, s)
	}
	r.mu.Unlock()
	status := make([]Status, len(subs))
	for i, s := range subs {
		status[i] = s.status()
	}
	return status
}
