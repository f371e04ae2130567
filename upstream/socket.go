package upstream

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// errStale is what a Write gets that would be the first of a request on a
// connection whose peer has closed it, or spoken unasked: nothing was sent.
var errStale = errors.New("upstream: connection: the peer closed it, or spoke unasked, before the request was written")

// socket is the raw connection under a pooled one, below TLS: it counts, looks
// before the first byte of a request leaves whether the peer still wants it,
// and keeps what the kernel said when the connection failed.
//
// # What the kernel proves
//
// A request that met its peer's close on the way may be sent again, whatever
// its method, if nobody can have read it. A FIN carries the acknowledgment of
// all that its sender's kernel had received when it left (RFC 9293 §3.1).
// So a FIN that acknowledges no byte of the request was sent before the first
// one arrived, and a reset after it is the answer of a kernel that has nobody
// left to hand data to. [socket.unread] therefore wants all of these, from
// Linux:
//
//   - TCP_INFO.bytes_acked is exactly what was written before the request,
//   - the state is CLOSE and the socket's error EPIPE, which only a reset
//     leaves that came after a FIN; one without a FIN leaves ECONNRESET, a
//     timeout ETIMEDOUT,
//   - if the FIN was seen before the reset, that had no ACK flag. The answer to
//     a segment that nobody wants has none (RFC 9293 §3.10.7.1); the reset of a
//     process that aborts has one on the systems in use. A filter on the socket
//     makes the kernel drop those, and count that it did.
//
// What a process has read before it aborts is covered by none of this: if it
// aborts, no FIN comes; if it closes, the FIN acknowledges what was read.
//
// One peer deceives it: one that ends only its own side (shutdown), then reads
// and executes a request that crosses that FIN, although it can no longer
// answer, and aborts before its kernel acknowledges (within 40 ms) and before
// this end looks (microseconds after its write). HTTP servers do not do that:
// after a shutdown they read only to discard.
type socket struct {
	net.Conn

	raw    syscall.RawConn // nil if it is no socket of the system
	peek   func(uintptr)   // sets silent; made once, since it is called for each request
	prove  bool            // it is TCP on Linux, and a proof is wanted
	acked  uint64          // bytes_acked when it was new: Linux counts the SYN
	closed func()

	read, written         atomic.Int64 // bytes; a Write under way counts as done
	readFrom, writtenFrom atomic.Int64 // the same at begin
	gate                  atomic.Int32 // of Write, see below
	silent                atomic.Bool  // what the last peek saw
	farewell              atomic.Int64 // bytes that are no answer yet, see maxAlert

	ended    atomic.Bool // a Read has failed
	closing  sync.Once
	closeErr error // set by closing
	byPeer   bool  // so too: it had ended before it was closed

	examining sync.Mutex // of the kernel: who comes second waits for the answer
	examined  bool       // there is one
	unheard   bool       // the kernel has proven it
}

// What look saw of a peer that may have closed the connection.
type peerState int

const (
	peerOpen    peerState = iota // or it has received something, or nothing is known
	peerClosed                   // its FIN came before it received anything
	peerReset                    // and then a reset
	peerUnclear                  // the reset came during the look: it may be anybody's
)

// TLS begins with a handshake record (RFC 8446 §5.1). With the usual AEADs an
// alert takes up to 31 bytes on the wire, a response at least 40.
const (
	handshakeRecord = 22
	maxAlert        = 31
)

// The gate of Write.
const (
	gateNew   int32 = iota // no request has begun: a TLS peer may have more to say
	gateOpen               // a request is being written
	gateCheck              // a further request has begun: look first
	gateShut               // the look told that it is useless
)

// newSocket wraps c. With prove, unread may report true. closed is called
// once, after the first Close, without locks; it may be nil.
func newSocket(c net.Conn, prove bool, closed func()) *socket {
	s := &socket{Conn: c, closed: closed}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.peek = raw, func(fd uintptr) { s.silent.Store(silent(fd)) }
		}
	}
	// A type of somebody else's may send other bytes than it is given.
	if _, tcp := c.(*net.TCPConn); tcp && prove && s.raw != nil {
		s.acked, s.prove = provable(s.raw)
	}
	return s
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.read.Add(int64(n))
	if err != nil {
		s.ended.Store(true)
		s.examine()
	}
	return n, err //nolint:wrapcheck // io.EOF is what net/http looks for
}

func (s *socket) Write(p []byte) (int, error) {
	switch s.gate.Load() {
	case gateNew:
		if len(p) > 0 && p[0] == handshakeRecord {
			s.farewell.Store(maxAlert)
		}
	case gateCheck:
		if !s.quiet() {
			s.gate.Store(gateShut)
			return 0, errStale
		}
		s.gate.Store(gateOpen)
	case gateShut: // nor TLS's farewell, which would count as written
		return 0, errStale
	}
	further := s.wrote()
	if s.prove && further && look(s.raw, s.ackedFrom()) == peerReset {
		s.examine() // since Write takes the error that tells
	}
	s.written.Add(int64(len(p)))
	n, err := s.Conn.Write(p)
	if n < len(p) {
		s.written.Add(int64(n - len(p)))
	}
	if err != nil {
		s.examine()
	} else if s.prove && !further && look(s.raw, s.ackedFrom()) == peerUnclear {
		s.examining.Lock()
		s.examined = true
		s.examining.Unlock()
	}
	return n, err
}

// Close closes the connection, once; later calls wait for the first and
// return what it did.
func (s *socket) Close() error {
	s.closing.Do(func() {
		s.examine()
		s.byPeer = s.ended.Load()
		s.closeErr = s.Conn.Close()
		if s.closed != nil {
			s.closed()
		}
	})
	return s.closeErr
}

// CloseWrite ends this side, if the connection can.
func (s *socket) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return fmt.Errorf("upstream: connection: end of one side: %w", errors.ErrUnsupported)
}

// giveUp is how long a peer on HTTP/2 may leave bytes unacknowledged, data or
// keep-alive, before the connection is broken (RFC 5482). Without it the system
// repeats data for a quarter of an hour. Not on HTTP/1.1, where a peer that
// does not read an upload for a while is within its rights.
const giveUp = 30 * time.Second

// boundSilence sets giveUp, where the system can.
func (s *socket) boundSilence() {
	if _, tcp := s.Conn.(*net.TCPConn); tcp && s.raw != nil {
		_ = s.raw.Control(func(fd uintptr) { setUserTimeout(fd, giveUp) })
	}
}

// bytes returns how many bytes were read and written.
func (s *socket) bytes() (read, written int64) { return s.read.Load(), s.written.Load() }

// quiet reports whether an idle connection is fit for use: there is nothing
// to read, no end and no error. It consumes nothing and needs no lock that a
// Read under way holds. It is true where the system cannot be asked.
func (s *socket) quiet() bool {
	return s.raw == nil || s.raw.Control(s.peek) == nil && s.silent.Load()
}

// begin marks the start of an HTTP/1.1 request: wrote, answered and unread
// speak of it. The request before must be over.
func (s *socket) begin() {
	s.readFrom.Store(s.read.Load())
	s.writtenFrom.Store(s.written.Load())
	if !s.gate.CompareAndSwap(gateNew, gateOpen) {
		s.gate.CompareAndSwap(gateOpen, gateCheck)
	}
}

// wrote reports whether any byte was written since begin.
func (s *socket) wrote() bool { return s.written.Load() > s.writtenFrom.Load() }

// answered reports whether any of an answer was read since begin; TLS's
// farewell is none.
func (s *socket) answered() bool {
	return s.read.Load() > s.readFrom.Load()+s.farewell.Load()
}

// unread reports, once the connection has failed, whether the kernel proves
// that no process of the peer can have read any of the request.
func (s *socket) unread() bool {
	s.examine()
	s.examining.Lock()
	defer s.examining.Unlock()
	return s.unheard
}

// ackedFrom is what bytes_acked was at begin, the requests before having been
// answered.
func (s *socket) ackedFrom() uint64 {
	return s.acked + uint64(s.writtenFrom.Load()) //nolint:gosec // a counter
}

// examine asks the kernel at the first sign of the connection's end, before
// that is passed on: what is asked after the descriptor has gone tells
// nothing. If the reset is still to come, it waits for it, see patience.
func (s *socket) examine() {
	if !s.prove || !s.wrote() {
		return
	}
	s.examining.Lock()
	defer s.examining.Unlock()
	if !s.examined {
		s.examined, s.unheard = refused(s.raw, s.ackedFrom())
	}
}
