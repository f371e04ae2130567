package fanout

import (
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// turn does what a flow has to do.
func (s *shard) turn(f *flow) {
	if f.fd < 0 {
		return
	}
	if f.conn.reset.Load() {
		s.close(f, ErrReset)
		return
	}
	if f.job != nil && f.job.done.Load() && !s.worked(f) {
		return
	}
	if f.has(readable) && !s.read(f) {
		return
	}
	if f.backlog != nil && (f.has(blocked) || !s.flush(f)) {
		return
	}
	switch {
	case f.ending != nil:
		s.finish(f)
	case f.has(toPull):
		s.out.reset()
		s.pull(f)
	}
}

// pull asks the session for more. What s.out has goes before it.
func (s *shard) pull(f *flow) {
	waited := f.has(owed)
	f.unset(toPull | owed)
	if waited {
		s.hear(f) // not before: what is owed counts as paused, and has no deadline
	}
	s.alarms.remove(f)
	f.conn.woken.Store(false) // before the session looks what there is
	var err error
	func() {
		defer caught(&err)
		f.session.Pull(&s.out)
	}()
	if f.unset(catching); s.out.more {
		f.set(catching)
	}
	s.give(f, false, err)
}

// receive gives the session what its client sent. What s.out has goes before
// what it answers.
func (s *shard) receive(f *flow, p []byte) {
	f.unused = drained(f.unused, time.Duration(s.now-f.conn.lastReceived.Load())) + int32(len(p))
	f.conn.received.Add(uint64(len(p)))
	f.conn.lastReceived.Store(s.now)
	f.conn.excused = 0
	var err error
	func() {
		defer caught(&err)
		f.session.Receive(&s.out, p)
	}()
	s.give(f, true, err)
	if f.fd >= 0 && f.excess() > 0 {
		f.set(paced)
		s.rearm(f)
	}
}

func (s *shard) beat(f *flow) {
	s.out.reset()
	var err error
	func() {
		defer caught(&err)
		f.session.Beat(&s.out)
	}()
	s.give(f, false, err)
}

// give does what s.out says that the session gave, and closes the flow for err.
func (s *shard) give(f *flow, reply bool, err error) {
	if err != nil {
		s.close(f, err)
		return
	}
	o := &s.out
	o.flushCopied()
	s.given += o.bytes
	if o.end != nil && (reply || f.ending == nil) {
		s.end(f, *o.end)
	}
	if o.work != nil && reply {
		f.job = &job{do: o.work, tell: s.listNow, conn: f.conn}
		f.unused = 0
		s.engine.workers.add(f.job)
	}
	if o.more {
		f.set(toPull)
	}
	if !o.due.IsZero() && f.ending == nil {
		s.alarms.put(f, later(s.clock(), time.Until(o.due)))
	}
	switch {
	case len(o.frames) == 0 || f.has(shut):
	case f.backlog != nil:
		f.keep(o.frames, reply, s.now)
	default:
		rest, err := s.send(f, o.frames)
		if err != nil {
			s.fail(f, err)
			return
		}
		if len(rest) > 0 {
			f.keep(rest, reply, s.now)
			s.rearm(f)
		}
	}
	if f.backlog != nil {
		return
	}
	if f.ending != nil {
		s.finish(f)
	} else if f.has(toPull) {
		s.enqueue(f)
	}
}

// worked goes on after a job, and reports whether the flow is open still.
func (s *shard) worked(f *flow) bool {
	err := f.job.err
	f.job = nil
	if err != nil {
		s.close(f, err)
		return false
	}
	f.set(toPull | owed)
	return true
}

// hear has a flow read from again that was not, or asked again that could not be.
func (s *shard) hear(f *flow) {
	f.excuse(s.now)
	s.rearm(f)
	if f.has(readable) {
		s.enqueue(f)
	}
}

// end notes that the session has ended the connection.
func (s *shard) end(f *flow, e End) {
	before := f.ending
	f.ending = &ending{End: e}
	if before == nil {
		f.unused = 0
		f.unset(paced)
	}
	switch {
	case before != nil && before.lingering && e.Linger > 0:
		// However often it is said, the client has no more than its time.
		f.ending.lingering, f.ending.began = true, before.began
		f.ending.until = later(before.began, e.Linger)
	case e.Within > 0:
		f.ending.until = later(s.now, e.Within)
	case before != nil:
		f.ending.until = before.until // nor to take what it was given
	}
	s.alarms.remove(f)
	s.rearm(f)
	if f.has(readable) { // now it may be read
		s.enqueue(f)
	}
}

// finish goes on with the end, all having been written.
func (s *shard) finish(f *flow) {
	e := f.ending
	if e.HalfClose && !f.has(shut) {
		f.set(shut)
		_ = unix.Shutdown(int(f.fd), unix.SHUT_WR) // who does not see it sees Close
	}
	switch {
	case e.Linger <= 0 || f.has(ended):
		s.close(f, nil)
	case !e.lingering:
		e.lingering, e.began, e.until = true, s.now, later(s.now, e.Linger)
		s.rearm(f)
	}
}

// fail closes a flow that the system said err about.
func (s *shard) fail(f *flow, err error) {
	switch {
	case f.ending != nil && f.ending.lingering:
		err = nil
	case errors.Is(err, unix.ETIMEDOUT): // TCP_USER_TIMEOUT
		err = ErrStalled
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		err = ErrGone
	}
	s.close(f, err)
}

// close closes a flow, and tells its session why.
func (s *shard) close(f *flow, err error) {
	f.conn.by.Store(nil)
	f.unlink()
	s.alarms.remove(f)
	s.slots[f.slot] = nil
	s.free = append(s.free, f.slot)
	f.slot = noSlot
	f.backlog = nil
	f.buffered.Store(0)
	s.closing.Lock()
	fd := int(f.fd)
	f.fd = -1
	s.closing.Unlock()
	if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, ErrSilent) {
		// What the kernel holds for who does not take it is not to stay there.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(fd)
	s.connections.Add(-1)
	if f.job != nil {
		s.engine.workers.drop(f.job) // one that has begun goes on, but it may wait for this:
		f.job = nil
	}
	session := f.session
	f.session = nil
	defer func() {
		_ = recover() // there is nobody left to be told
	}()
	session.Closed(err)
}

// depth is owner.depth, and may be called by anybody.
func (s *shard) depth(c *Conn) (buffered, unsent int) {
	f := &c.flow
	s.closing.RLock()
	defer s.closing.RUnlock()
	if f.fd < 0 {
		return 0, -1
	}
	unsent, err := unix.IoctlGetInt(int(f.fd), unix.SIOCOUTQNSD)
	if err != nil {
		unsent = -1
	}
	return int(f.buffered.Load()), unsent
}

// jitter returns thousandths, from -1000 to 1000.
func jitter() int16 { return int16(rand.IntN(2001) - 1000) }
