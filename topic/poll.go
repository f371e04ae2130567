package topic

import (
	"context"
	"math"
	"time"
)

// pullBatch bounds what one log gives a reader before the next log's turn.
const pullBatch = 64

// Next fills buf with what comes next, waiting for at least one item, and
// returns how many it holds. Calling it says that all it returned before was
// consumed. The error is ctx's cause. It panics for a reader that is woken.
func (r *Reader) Next(ctx context.Context, buf []Item) (int, error) {
	w := r.waker.(*waiter)
	for {
		n, _, at := r.poll(buf, math.MaxInt)
		if n > 0 || len(buf) == 0 {
			return n, nil
		}
		select {
		case <-w.token:
		case <-w.alarm(at):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Poll is Next without waiting: 0 when there is nothing to read now.
func (r *Reader) Poll(buf []Item) int {
	n, _, _ := r.poll(buf, math.MaxInt)
	return n
}

// PollSome is Poll until buf is full or holds most bytes of events' data, of
// which the last may go beyond. more says that it was so, and there may be more at
// once. due is when the first of the logs that are held back by their rate is due,
// the zero time when none is. For either the caller is to poll again: nothing
// wakes it.
func (r *Reader) PollSome(buf []Item, most int) (n int, more bool, due time.Time) {
	n, more, at := r.poll(buf, most)
	if at != 0 {
		due = time.Unix(0, at)
	}
	return n, more, due
}

// poll also returns whether it ended before there was nothing more, and when the
// first of the logs held back by their rate is due; 0 for none.
func (r *Reader) poll(buf []Item, most int) (n int, cut bool, due int64) {
	now := time.Now().UnixNano()
	s, others, due := r.begin(now, len(buf) > 0)
	ack, confirm := r.ackBut(s), false
	for s != nil {
		room := min(len(buf)-n, pullBatch)
		p := s.pull(buf[n:n+room], most, now, ack)
		ack = false
		if p.n > 0 {
			n += p.n
			most -= p.bytes
			r.handed(s, p.confirm)
			confirm = confirm || p.confirm
		}
		if p.at > 0 && (due == 0 || p.at < due) {
			due = p.at
		}
		if !p.more && p.at == 0 && !others {
			break // whatever came since has woken the reader
		}
		s, others = r.turn(s, p, n < len(buf) && most > 0)
	}
	if confirm {
		r.askConfirmation()
	}
	return n, n == len(buf) || most <= 0, due
}

// handed notes that this call handed out something of s.
func (r *Reader) handed(s *sub, confirm bool) {
	s.confirm = confirm
	if !s.unacked {
		s.unacked = true
		s.nextUnacked, r.unacked = r.unacked, s
	}
}

// askConfirmation wakes the reader for the poll that says that what this one
// handed out was consumed, where publishers wait for that.
func (r *Reader) askConfirmation() {
	for s := r.unacked; s != nil; s = s.nextUnacked {
		if s.confirm {
			r.push(s)
		}
	}
}

// ackBut notes that what the previous call handed out has been consumed, but
// for that of the next log to be pulled, which it reports: pull acknowledges
// that while it has the log's lock.
func (r *Reader) ackBut(next *sub) (ackNext bool) {
	for s := r.unacked; s != nil; s = r.unacked {
		r.unacked, s.nextUnacked, s.unacked = s.nextUnacked, nil, false
		if s == next {
			ackNext = true
		} else {
			s.ack()
		}
	}
	return ackNext
}

// push puts s on the ready list and wakes the reader, unless s is there.
func (r *Reader) push(s *sub) {
	// Who takes it off looks into the log afterwards, and finds what s is pushed for.
	if s.queued.Load() {
		return
	}
	r.mu.Lock()
	if s.queued.Load() || !s.on {
		r.mu.Unlock()
		return
	}
	r.enqueue(s)
	r.mu.Unlock()
	r.waker.Wake()
}

// begin makes the logs ready that were held back until now, and says when the
// first of the others is due; 0 for none. It takes the first log that has
// something, if one is wanted, and says whether others have.
func (r *Reader) begin(now int64, want bool) (first *sub, others bool, due int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := &r.timed; *p != nil; {
		s := *p
		if s.heldUntil > now {
			if due == 0 || s.heldUntil < due {
				due = s.heldUntil
			}
			p = &s.nextTimed
			continue
		}
		*p, s.nextTimed, s.heldUntil = s.nextTimed, nil, 0
		if !s.queued.Load() {
			r.enqueue(s)
		}
	}
	if want {
		first = r.dequeue()
	}
	return first, r.ready != nil, due
}

// turn puts s, which was pulled, where it belongs: at the end of the ready list
// when there is more to pull, aside until it is no longer held. It takes the
// next log that has something, if one is wanted, and says whether others have.
func (r *Reader) turn(s *sub, p pulled, want bool) (next *sub, others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !s.on:
	case p.more && !s.queued.Load():
		r.enqueue(s)
	case p.at > 0:
		if s.heldUntil == 0 {
			s.nextTimed, r.timed = r.timed, s
		}
		s.heldUntil = p.at
	}
	if want {
		next = r.dequeue()
	}
	return next, r.ready != nil
}

// enqueue puts s at the end of the ready list. r.mu is held.
func (r *Reader) enqueue(s *sub) {
	s.queued.Store(true)
	if r.ready == nil {
		r.ready = s
	} else {
		r.last.next = s
	}
	r.last = s
}

// dequeue takes the first off the ready list; nil when it is empty. r.mu is held.
func (r *Reader) dequeue() *sub {
	s := r.ready
	if s == nil {
		return nil
	}
	r.ready, s.next = s.next, nil
	if r.ready == nil {
		r.last = nil
	}
	s.queued.Store(false)
	return s
}

// unlink takes s off the lists. r.mu is held.
func (r *Reader) unlink(s *sub) {
	if s.queued.Load() {
		var before *sub
		p := &r.ready
		for *p != s {
			before = *p
			p = &before.next
		}
		*p, s.next = s.next, nil
		if r.last == s {
			r.last = before
		}
		s.queued.Store(false)
	}
	if s.heldUntil > 0 {
		p := &r.timed
		for *p != s {
			p = &(*p).nextTimed
		}
		*p, s.nextTimed, s.heldUntil = s.nextTimed, nil, 0
	}
}
