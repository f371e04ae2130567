package fanout

import (
	"os"

	"golang.org/x/sys/unix"
)

// arrival is a connection that the shard is to serve.
type arrival struct {
	flow         *flow
	first, early []byte
}

// arrivalsATime is how many connections are taken in before others have their
// turn, so that a storm of them holds nobody up.
const arrivalsATime = 32

// collect sees to what came by mail: connections, and the engine's end.
func (s *shard) collect() {
	s.mu.Lock()
	arrivals, stopping := s.arrivals, s.shutting
	s.arrivals = nil
	s.mu.Unlock()
	for _, a := range arrivals {
		s.came.push(a)
	}
	if !stopping {
		return
	}
	s.stopping = true
	for s.came.len() > 0 {
		s.place(s.came.pop().flow)
	}
	for _, f := range s.slots {
		if f != nil {
			s.close(f, ErrClosed)
		}
	}
}

// admit takes in some of the connections that came. They are looked at before
// their sessions are pulled: nothing is encoded for one that has gone already.
func (s *shard) admit() {
	if s.came.len() == 0 {
		return
	}
	for range min(s.came.len(), arrivalsATime) {
		s.adopt(s.came.pop())
	}
	if s.came.len() == 0 {
		s.came = line[arrival]{} // a storm's memory
	}
	s.poll()
}

// place gives a flow its slot.
func (s *shard) place(f *flow) {
	s.life++
	f.life = s.life
	if n := len(s.free); n > 0 {
		f.slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.slots[f.slot] = f
		return
	}
	f.slot = int32(len(s.slots))
	s.slots = append(s.slots, f)
}

// adopt begins to serve a connection: it writes what comes first, and has it wait
// for its turn.
func (s *shard) adopt(a arrival) {
	f := a.flow
	s.place(f)
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
	f.set(toPull | catching)
	s.rearm(f)
	s.out.reset()
	s.out.Share(a.first)
	if len(a.early) > 0 {
		s.receive(f, a.early)
	} else {
		s.give(f, false, nil)
	}
}
