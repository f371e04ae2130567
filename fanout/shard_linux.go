package fanout

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shard serves its connections from one goroutine, run, to which all fields
// belong but those that say otherwise.
type shard struct {
	engine *Engine
	owner  owner // of each of its connections
	epoll  int
	file   *os.File // the same descriptor, which parks in Go's poller
	raw    syscall.RawConn
	ready  func(uintptr) bool // polls; parks until it has returned true
	events [256]unix.EpollEvent
	got    int   // events that ready has found
	parked int64 // the deadline that file has; 0 when it is not known

	slots []*flow
	free  []int32 // slots without a flow
	life  uint32  // counts the flows, so that an event for one before is told apart

	now      int64   // as the engine's clock had it some sends ago
	queue    []*flow // for the next round
	spare    []*flow // its memory, the other time
	held     int64   // until when what was woken waits (Config.FlushDelay)
	wheel    wheel
	alarms   alarms
	out      Out
	in       []byte
	together []byte   // small frames, for one write
	gathered [][]byte // those it is made of; cleared by the end of a round
	stopping bool

	// Anybody's:
	woken       atomic.Pointer[Conn] // the last of a list, by Conn.next; at most all connections
	asleep      atomic.Bool
	mail        atomic.Bool // arrivals or shutting is to be seen to
	connections atomic.Int64
	rounds      atomic.Uint64
	writes      atomic.Uint64

	mu       sync.Mutex
	arrivals []arrival // bounded by who adds them: connections that were accepted
	shutting bool

	closing sync.RWMutex // so that no descriptor is closed while its depth is asked for
}

// arrival is a connection that the shard is to serve.
type arrival struct {
	flow         *flow
	first, early []byte
}

// gatherBytes is how much goes into one write of several frames.
const gatherBytes = 64 << 10

func newShard(e *Engine) (*shard, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &shard{
		engine: e, epoll: fd, file: os.NewFile(uintptr(fd), "epoll"),
		in: make([]byte, readBuffer), together: make([]byte, 0, gatherBytes),
	}
	s.owner = owner{wake: s.list, depth: s.depth, engine: true}
	s.ready = s.find
	s.raw, err = s.file.SyscallConn()
	if err == nil {
		err = s.file.SetReadDeadline(time.Time{}) // fails when Go's poller does not have it
	}
	if err != nil {
		s.file.Close()
		return nil, err
	}
	s.now = s.clock()
	return s, nil
}

// clock returns Unix nanoseconds that never go back: the time when the engine
// was made, and what has passed since.
func (s *shard) clock() int64 {
	return s.engine.start.UnixNano() + int64(time.Since(s.engine.start))
}

// put hands a connection over; not when the shard is shut.
func (s *shard) put(a arrival) bool {
	s.mu.Lock()
	if s.shutting {
		s.mu.Unlock()
		return false
	}
	s.arrivals = append(s.arrivals, a)
	s.connections.Add(1)
	s.mu.Unlock()
	s.mail.Store(true)
	s.rouse()
	return true
}

// shut has the shard close its connections and end.
func (s *shard) shut() {
	s.mu.Lock()
	s.shutting = true
	s.mu.Unlock()
	s.mail.Store(true)
	s.rouse()
}

// list is owner.wake.
func (s *shard) list(c *Conn) {
	if c.listed.Swap(true) {
		return
	}
	for {
		last := s.woken.Load()
		c.next = last
		if s.woken.CompareAndSwap(last, c) {
			if last == nil { // else it has been roused, or is about to be
				s.rouse()
			}
			return
		}
	}
}

// run serves the connections until the shard is shut.
func (s *shard) run() {
	defer s.file.Close()
	for {
		s.now = s.clock()
		if s.mail.Swap(false) {
			s.admit()
		}
		s.timers()
		took := s.take()
		if len(s.queue) > 0 {
			s.round()
			if took && s.engine.config.FlushDelay > 0 {
				s.held = s.clock() + int64(s.engine.config.FlushDelay)
			}
			s.poll()
			continue
		}
		if s.stopping {
			return
		}
		s.park()
	}
}

// round gives each flow in the queue its turn. What is queued meanwhile waits
// for the next.
func (s *shard) round() {
	now := s.queue
	s.queue = s.spare[:0]
	for i, f := range now {
		f.unset(queued)
		s.turn(f)
		if i%256 == 255 {
			s.poll()
			runtime.Gosched() // others have work on this processor too
		}
	}
	clear(now)
	s.spare = now[:0]
	clear(s.gathered) // so that none is kept, and none is taken for another in its place
	s.gathered = s.gathered[:0]
	s.rounds.Add(1)
}

func (s *shard) enqueue(f *flow) {
	if !f.has(queued) {
		f.set(queued)
		s.queue = append(s.queue, f)
	}
}

// holding reports whether what was woken is to wait.
func (s *shard) holding() bool { return s.now < s.held && !s.stopping }

// take queues what was woken, in that order, and reports whether that was any.
func (s *shard) take() bool {
	if s.holding() {
		return false
	}
	last := s.woken.Swap(nil)
	if last == nil {
		return false
	}
	var first *Conn
	for c := last; c != nil; {
		next := c.next
		c.next, first, c = first, c, next
	}
	for c := first; c != nil; {
		next := c.next
		c.next = nil
		c.listed.Store(false) // it may be listed again from here on
		if f := &c.flow; f.fd >= 0 {
			f.set(toPull)
			s.enqueue(f)
		}
		c = next
	}
	return true
}

// admit sees to connections that arrived, and to the engine's end.
func (s *shard) admit() {
	s.mu.Lock()
	arrivals, stopping := s.arrivals, s.shutting
	s.arrivals = nil
	s.mu.Unlock()
	for _, a := range arrivals {
		s.adopt(a)
	}
	if !stopping {
		return
	}
	s.stopping = true
	for _, f := range s.slots {
		if f != nil {
			s.close(f, ErrClosed)
		}
	}
}

// adopt begins to serve a connection.
func (s *shard) adopt(a arrival) {
	f := a.flow
	s.life++
	f.life = s.life
	if n := len(s.free); n > 0 {
		f.slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.slots[f.slot] = f
	} else {
		f.slot = int32(len(s.slots))
		s.slots = append(s.slots, f)
	}
	f.conn.begin(&s.owner)
	f.conn.lastSent.Store(s.now)
	f.conn.lastReceived.Store(s.now)
	err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, int(f.fd), &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     f.slot, Pad: int32(f.life),
	})
	if err != nil {
		s.close(f, os.NewSyscallError("epoll_ctl", err))
		return
	}
	if f.conn.reset.Load() { // before begin, so that nobody has been told
		s.close(f, ErrReset)
		return
	}
	f.jitter = jitter()
	s.rearm(f)
	s.out.reset()
	s.out.Share(a.first)
	if len(a.early) > 0 {
		f.set(toPull)
		s.receive(f, a.early)
	} else {
		s.pull(f)
	}
}
