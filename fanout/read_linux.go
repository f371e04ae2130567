package fanout

import (
	"os"

	"golang.org/x/sys/unix"
)

// readsATurn is how often a connection is read from before others have their turn.
const readsATurn = 4

// read gives the session what the client has sent, and reports whether the flow
// is open still.
func (s *shard) read(f *flow) bool {
	for range readsATurn {
		if f.paused() {
			return true // and readable
		}
		n, err := unix.Read(int(f.fd), s.in)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			f.unset(readable)
			return true
		case err != nil:
			s.fail(f, os.NewSyscallError("read", err))
			return false
		case n == 0:
			f.unset(readable)
			f.set(ended)
			if f.ending == nil {
				s.close(f, ErrGone)
			}
			return f.fd >= 0 // what is given is to be written still
		}
		if n < len(s.in) && !f.has(hungUp) {
			f.unset(readable) // that was all; the next event says when there is more
		}
		s.out.reset()
		s.receive(f, s.in[:n])
		if f.fd < 0 {
			return false
		}
		if !f.has(readable) {
			return true
		}
	}
	s.enqueue(f)
	return true
}
