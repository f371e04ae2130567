package listen

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Without a descriptor an acceptor looks for a client that waits after each pause,
// for a moment. Only then is its spare one free, for anybody to take.
const (
	pauseTime = 50 * time.Millisecond
	lookTime  = 2 * time.Millisecond
)

// accept returns the next connection. When the process, or the system, has no
// descriptor left for one, its client is told so by a reset: it would wait for
// an answer otherwise until somebody else's connection ends.
func (a *acceptor) accept() (net.Conn, error) {
	for {
		conn, err := a.Listener.Accept()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return conn, err
		}
		if !a.spare.give() {
			a.server.gate.exhausted(nil)
			time.Sleep(pauseTime)
			a.spare.take()
			continue
		}
		conn, err = a.acceptWithin(lookTime)
		switch there := a.spare.take(); {
		case err != nil: // nobody has come; of a listener that is closed, Accept says so
			time.Sleep(pauseTime)
		case there: // there are descriptors again
			return conn, nil
		default:
			a.server.gate.exhausted(conn)
			reset(conn)
			a.spare.take()
		}
	}
}

// acceptWithin returns a connection that waits, or an error. A listener without
// deadlines may take longer.
func (a *acceptor) acceptWithin(d time.Duration) (net.Conn, error) {
	if l, ok := a.Listener.(interface{ SetDeadline(t time.Time) error }); ok {
		if err := l.SetDeadline(time.Now().Add(d)); err != nil {
			return nil, err
		}
		defer func() { _ = l.SetDeadline(time.Time{}) }()
	}
	return a.Listener.Accept()
}

// Close closes the listener.
func (a *acceptor) Close() error {
	a.spare.end()
	return a.Listener.Close()
}

// reset closes a connection so that its client is not left in doubt.
func reset(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}

// exhausted counts a connection for which there is no descriptor; nil is one
// that cannot even be accepted, and only logged.
func (g *gate) exhausted(conn net.Conn) {
	var from netip.Addr
	if conn != nil {
		from = addrOf(conn.RemoteAddr())
	}
	g.decide(&connection{mute: true}, from, func(c *connection, _ netip.Addr) bool {
		if conn == nil {
			c.why = noDescriptor
			return false
		}
		g.counts.Opened++
		g.counts.Full++
		return g.refuse(c, noDescriptor)
	})
}

// DescriptorLimit returns how many files and connections the process may have
// open, and false where the system has no such limit.
func DescriptorLimit() (n int, ok bool) {
	most, ok := descriptors()
	return int(min(most, 1<<30)), ok //nolint:gosec // at most 2^30
}

// spare is a descriptor that is kept for the time when there is no other.
type spare struct {
	mu    sync.Mutex
	file  *os.File // nil: none
	ended bool
}

// take reports whether there is a spare one now.
func (s *spare) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil && !s.ended {
		s.file, _ = os.Open(os.DevNull) // without it, clients wait
	}
	return s.file != nil
}

// give frees the spare one, if there is one.
func (s *spare) give() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return false
	}
	_ = s.file.Close()
	s.file = nil
	return true
}

// end frees it for good.
func (s *spare) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}
