package fanout

import (
	"os"
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

	now      int64 // as the engine's clock had it some sends ago
	came     line[arrival]
	live     line[*flow] // that have something to do
	behind   line[*flow] // the same, of those that have much to catch up with
	given    int         // bytes that sessions gave in this round
	held     int64       // until when what was woken waits (Config.FlushDelay); for ever before those taken have had their turns
	taken    int         // turns until then
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
	urgent      atomic.Bool // something listed is not to wait
	connections atomic.Int64
	rounds      atomic.Uint64
	writes      atomic.Uint64

	mu       sync.Mutex
	arrivals []arrival // not in came yet; both are bounded by who adds them: connections that were accepted
	shutting bool

	closing sync.RWMutex // so that no descriptor is closed while its depth is asked for
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
	s.owner = owner{wake: s.wake, depth: s.depth, path: s.path, engine: true}
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

// wake is owner.wake. A reset does not wait.
func (s *shard) wake(c *Conn) {
	if c.reset.Load() {
		s.listNow(c)
		return
	}
	s.list(c)
}

// listNow lists a connection that is not to wait for what others hold back.
func (s *shard) listNow(c *Conn) {
	s.urgent.Store(true)
	s.list(c)
	s.rouse() // list does so only for the first
}

// list has the shard look at a connection.
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

// holding reports whether what was woken is to wait.
func (s *shard) holding() bool { return s.now < s.held && !s.stopping && !s.urgent.Load() }

// take queues what was woken, in that order, and reports whether that was any.
func (s *shard) take() bool {
	if s.holding() {
		return false
	}
	s.urgent.Store(false)
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
