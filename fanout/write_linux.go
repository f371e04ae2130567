package fanout

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// send writes frames and returns those that the connection did not take, the
// first of them from where it is to go on: then it is blocked.
func (s *shard) send(f *flow, frames [][]byte) (rest [][]byte, err error) {
	for len(frames) > 0 {
		p, count := s.gather(frames)
		n, err := write(int(f.fd), p)
		s.writes.Add(1)
		if n > 0 {
			f.conn.sent.Add(uint64(n))
			f.conn.lastSent.Store(s.now)
		}
		switch {
		case n == len(p):
			frames = frames[count:]
		case n >= 0 || err == unix.EAGAIN:
			// A short write is as good as EAGAIN: either way the kernel has noted that
			// it is to say when there is space.
			f.set(blocked)
			return after(frames, max(n, 0)), nil
		case err != unix.EINTR:
			return nil, os.NewSyscallError("write", err)
		}
	}
	return nil, nil
}

// gather returns what to write at once, and how many frames that is. What many
// connections are given one after the other is put together once.
func (s *shard) gather(frames [][]byte) (p []byte, count int) {
	if len(frames) == 1 || len(frames[0])+len(frames[1]) > cap(s.together) {
		return frames[0], 1
	}
	if n := len(s.gathered); n > 0 && n <= len(frames) && (n == len(frames) || s.full(frames[n])) && same(s.gathered, frames) {
		return s.together, n
	}
	p, s.gathered = s.together[:0], s.gathered[:0]
	for count < len(frames) && len(p)+len(frames[count]) <= cap(p) {
		p = append(p, frames[count]...)
		s.gathered = append(s.gathered, frames[count])
		count++
	}
	s.together = p
	return p, count
}

// full reports whether a further frame does not go into what is put together.
func (s *shard) full(frame []byte) bool { return len(s.together)+len(frame) > cap(s.together) }

// same reports whether frames begins with these very slices. Who gives a frame by
// Out.Share does not change it, and what Out.Add copies is in memory of its own, so
// that what is at the same place is the same.
func same(these, frames [][]byte) bool {
	for i, f := range these {
		if len(f) != len(frames[i]) || &f[0] != &frames[i][0] { // no frame is empty
			return false
		}
	}
	return true
}

// after returns frames without their first n bytes. It changes them.
func after(frames [][]byte, n int) [][]byte {
	for n > 0 && n >= len(frames[0]) {
		n -= len(frames[0])
		frames = frames[1:]
	}
	if n > 0 {
		frames[0] = frames[0][n:]
	}
	return frames
}

// flush goes on writing, and reports whether all has been written.
func (s *shard) flush(f *flow) bool {
	b := f.backlog
	rest, err := s.send(f, b.frames)
	if err != nil {
		s.fail(f, err)
		return false
	}
	if len(rest) > 0 {
		clear(b.frames[:len(b.frames)-len(rest)]) // for the collector
		b.frames, b.bytes = rest, 0
		for _, frame := range rest {
			b.bytes += len(frame)
		}
		f.buffered.Store(int32(b.bytes))
		return false
	}
	f.backlog = nil
	f.buffered.Store(0)
	s.hear(f) // no sign of life was asked for meanwhile
	return true
}

// write is unix.Write for a descriptor that does not block, without telling Go's
// scheduler: for what lasts some microseconds it would have others woken to take
// this goroutine's place, again and again.
func write(fd int, p []byte) (n int, err error) {
	r, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // x/sys has no wrapper
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
