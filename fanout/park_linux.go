package fanout

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// long is a time that has passed: a deadline that wakes who waits.
var long = time.Unix(1, 0)

// rouse wakes the shard when it sleeps. By a deadline that has passed Go's poller
// makes its goroutine run without a system call, which a descriptor to be written
// to would need two of.
func (s *shard) rouse() {
	if s.asleep.Load() && s.asleep.Swap(false) {
		_ = s.file.SetReadDeadline(long) // fails when the shard has ended
	}
}

// park waits for events, for being roused or for the next timer, and sees to the
// events.
func (s *shard) park() {
	until := s.until()
	if until != s.parked {
		var at time.Time
		if until != math.MaxInt64 {
			at = time.Now().Add(time.Duration(until - s.clock()))
		}
		_ = s.file.SetReadDeadline(at) // which has worked before
		s.parked = until
	}
	// The deadline is set first, so that it does not undo that of rouse; and who
	// lists a connection does so before it looks whether the shard sleeps.
	s.asleep.Store(true)
	if s.mail.Load() || s.woken.Load() != nil && (!s.holding() || s.held < until) {
		s.asleep.Store(false)
		s.parked = 0 // rouse may have been called
		return
	}
	err := s.raw.Read(s.ready)
	s.asleep.Store(false)
	if err != nil { // the deadline
		s.parked = 0
		return
	}
	s.now = s.clock()
	s.handle()
}

// until returns when there is something to do unless something happens.
func (s *shard) until() int64 {
	until := int64(math.MaxInt64)
	if tick, ok := s.wheel.next(); ok {
		until = s.engine.start.UnixNano() + int64(tick)<<tickBits
	}
	if len(s.alarms) > 0 {
		until = min(until, s.alarms[0].at)
	}
	if s.holding() && s.woken.Load() != nil {
		until = min(until, s.held)
	}
	return until
}

// find asks for events.
func (s *shard) find(uintptr) bool {
	n, err := unix.EpollWait(s.epoll, s.events[:], 0)
	s.got = max(n, 0)
	return n != 0 || err != nil
}

// poll sees to what events there are by now.
func (s *shard) poll() {
	s.now = s.clock()
	if s.find(0) {
		s.handle()
	}
}

// handle queues the flows of the events that find has found. More than fit are
// there the next time.
func (s *shard) handle() {
	for _, e := range s.events[:s.got] {
		f := s.slots[e.Fd]
		if f == nil || f.life != uint32(e.Pad) {
			continue // of one that the slot had before
		}
		if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			f.unset(blocked)
		}
		if e.Events&^unix.EPOLLOUT != 0 && !f.has(ended) { // an error is found by reading
			f.set(readable)
		}
		if e.Events&^(unix.EPOLLOUT|unix.EPOLLIN) != 0 {
			f.set(hungUp)
		}
		s.enqueue(f)
	}
	s.got = 0
}

// tick returns the first tick of the wheel that is not before a time.
func (s *shard) tick(at int64) uint32 {
	return uint32(max(0, at-s.engine.start.UnixNano())>>tickBits) + 1
}

// rearm has the wheel look at f in time.
func (s *shard) rearm(f *flow) {
	if at, do := f.deadline(); do != nothing {
		s.wheel.arm(f, s.tick(at))
	}
}

// timers sees to what is due.
func (s *shard) timers() {
	s.wheel.advance(s.tick(s.now)-1, s.expire)
	for len(s.alarms) > 0 && s.alarms[0].at <= s.now {
		f := s.alarms[0].flow
		s.alarms.remove(f)
		f.set(toPull)
		s.enqueue(f)
	}
}

// expire looks at a flow that may have a deadline that has passed.
func (s *shard) expire(f *flow) {
	at, do := f.deadline()
	if do != nothing && at <= s.now {
		switch do {
		case stalled:
			s.close(f, ErrStalled)
			return
		case silent:
			s.close(f, ErrSilent)
			return
		case lingered:
			s.close(f, nil)
			return
		case beat:
			f.beat = s.now
			f.jitter = jitter()
			s.beat(f)
		case resumed:
			f.unset(paced)
			s.hear(f)
		}
	}
	if f.fd >= 0 {
		s.rearm(f)
	}
}
