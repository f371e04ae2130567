package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// udpSocket is a UDP socket that can change hands. quic-go reads it, in batches,
// by one goroutine.
type udpSocket struct {
	*net.UDPConn

	batch  *ipv4.PacketConn
	mark   mark
	before []mark // the marks of the processes before this one
	// The reader's: the pair with the process before, nil without one, and room
	// for a message.
	older   *net.UnixConn
	raw     syscall.RawConn // of older
	in, out []byte

	moved   atomic.Bool // datagrams come from newer
	waiting sync.WaitGroup

	mu      sync.Mutex
	newer   *net.UnixConn // nil without a process after this one
	closing bool          // the reader is to end
}

// newUDPSocket returns the socket, which reads udp from now on, and closes
// previous, which may be nil.
func newUDPSocket(udp *net.UDPConn, previous *os.File) (*udpSocket, error) {
	u := &udpSocket{UDPConn: udp, batch: ipv4.NewPacketConn(udp)}
	if previous != nil {
		if err := u.takeOver(previous); err != nil {
			return nil, fmt.Errorf("listen: take QUIC over: %w", err)
		}
	}
	u.mark = newMark(u.before)
	return u, nil
}

// takeOver reads who there was before, who then leaves the socket to this
// process, or has ended already.
func (u *udpSocket) takeOver(previous *os.File) error {
	older, err := pairConn(previous)
	if err != nil {
		return err
	}
	b := make([]byte, 2*maxMarks)
	_ = older.SetReadDeadline(time.Now().Add(10 * time.Second)) // it was sent before this process began
	n, err := older.Read(b)
	if err == nil {
		var ok bool
		if u.before, ok = parseMarks(b[:n]); !ok {
			err = errors.New("what came from the older process is no list of marks")
		}
	}
	if err == nil {
		_, err = older.Write([]byte{0})
	}
	if err == nil {
		u.raw, err = older.SyscallConn()
	}
	if err != nil {
		_ = older.Close()
		if hasEnded(err) {
			return nil
		}
		return err
	}
	_ = older.SetWriteBuffer(1 << 20) // as much of it as the system allows
	u.older = older
	u.out = make([]byte, 0, maxMessage)
	return nil
}

// hasEnded reports whether an error of the pair is the end of the other process.
func hasEnded(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// handOver returns what the newer process needs.
func (u *udpSocket) handOver() (*os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen: hand over QUIC: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "quic")
	newer, err := pairConn(os.NewFile(uintptr(fds[0]), "quic"))
	if err == nil {
		_, err = newer.Write(marksMessage(u.mark, u.before))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil && u.newer != nil {
		err = errors.New("it is being handed over already")
	}
	if err == nil && u.closing {
		err = net.ErrClosed
	}
	if err != nil {
		_ = theirs.Close()
		if newer != nil {
			_ = newer.Close()
		}
		return nil, fmt.Errorf("listen: hand over QUIC: %w", err)
	}
	u.newer = newer
	u.waiting.Go(func() {
		if _, err := newer.Read(make([]byte, 1)); err != nil {
			u.takeBack(newer)
			return
		}
		u.moved.Store(true)
		_ = u.UDPConn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	})
	return theirs, nil
}

// takeBack is for a newer process that is no more.
func (u *udpSocket) takeBack(newer *net.UnixConn) {
	_ = newer.Close()
	u.moved.Store(false)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.newer = nil
	if !u.closing {
		_ = u.UDPConn.SetReadDeadline(time.Time{})
	}
}

// state returns the pair with the newer process, if there is one, and whether
// the reader is to end.
func (u *udpSocket) state() (newer *net.UnixConn, closing bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.newer, u.closing
}

// ReadBatch returns datagrams that are this process's, at least one.
func (u *udpSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		var n int
		var err error
		if u.moved.Load() {
			n, err = u.readPassed(ms)
		} else {
			n, err = u.batch.ReadBatch(ms, flags)
		}
		if err != nil {
			if _, closing := u.state(); closing || !errors.Is(err, os.ErrDeadlineExceeded) {
				return 0, err
			}
			continue // woken to read the other one
		}
		if n = u.sort(ms[:n]); n > 0 {
			return n, nil
		}
	}
}

// readPassed reads a datagram that the newer process passes on.
func (u *udpSocket) readPassed(ms []ipv4.Message) (int, error) {
	newer, _ := u.state()
	if newer == nil {
		return 0, nil
	}
	if u.in == nil {
		u.in = make([]byte, maxMessage)
	}
	n, err := newer.Read(u.in)
	if err != nil && hasEnded(err) {
		u.takeBack(newer)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	p, ok := parsePassed(u.in[:n])
	if !ok || len(p.payload) > len(ms[0].Buffers[0]) || len(p.control) > len(ms[0].OOB) {
		return 0, nil
	}
	ms[0].N = copy(ms[0].Buffers[0], p.payload)
	ms[0].NN = copy(ms[0].OOB, p.control)
	ms[0].Addr = p.addr()
	return 1, nil
}

// sort passes datagrams of older processes on and returns how many are left, at
// the front. One that belongs to a newer process, which has just begun to read
// the socket, is lost, as datagrams may be.
func (u *udpSocket) sort(ms []ipv4.Message) int {
	newer, _ := u.state()
	if u.older == nil && newer == nil {
		return len(ms)
	}
	n := 0
	for i := range ms {
		m := &ms[i]
		of, short, ok := markOf(m.Buffers[0][:m.N])
		switch {
		case ok && u.older != nil && slices.Contains(u.before, of):
			u.pass(m)
			continue
		case ok && short && newer != nil && of != u.mark:
			continue
		}
		if n < i { // the buffers stay where they are: quic-go counts on it
			own := &ms[n]
			own.N = copy(own.Buffers[0], m.Buffers[0][:m.N])
			own.NN = copy(own.OOB, m.OOB[:m.NN])
			own.Addr, own.Flags = m.Addr, m.Flags
		}
		n++
	}
	return n
}

// pass sends a datagram to the older process, or drops it if that cannot take it
// now.
func (u *udpSocket) pass(m *ipv4.Message) {
	from, ok := m.Addr.(*net.UDPAddr)
	if !ok || m.NN > 255 || passedHeader+m.NN+m.N > maxMessage {
		return
	}
	p := passed{from: from.AddrPort(), control: m.OOB[:m.NN], payload: m.Buffers[0][:m.N]}
	if zone := from.Zone; zone != "" {
		if i, err := net.InterfaceByName(zone); err == nil {
			p.scope = uint32(i.Index) //nolint:gosec // it is small
		}
	}
	u.out = p.appendTo(u.out[:0])
	if err := sendNow(u.raw, u.out); err != nil && hasEnded(err) {
		_ = u.older.Close()
		u.older = nil
	}
}

// sendNow sends b, or fails at once.
func sendNow(raw syscall.RawConn, b []byte) error {
	var sent error
	err := raw.Write(func(fd uintptr) bool {
		sent = syscall.Sendto(int(fd), b, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, nil)
		return true
	})
	return errors.Join(err, sent)
}

// SetReadDeadline is what quic-go ends the reader with.
func (u *udpSocket) SetReadDeadline(t time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closing = u.closing || !t.IsZero()
	if u.newer != nil {
		_ = u.newer.SetReadDeadline(t)
	}
	return u.UDPConn.SetReadDeadline(t)
}

// Close closes the socket, of which the reader has ended, and joins what
// handOver began.
func (u *udpSocket) Close() error {
	_ = u.SetReadDeadline(time.Unix(1, 0))
	u.waiting.Wait()
	if newer, _ := u.state(); newer != nil {
		_ = newer.Close()
	}
	if u.older != nil {
		_ = u.older.Close()
	}
	return u.UDPConn.Close()
}

// pairConn takes f over.
func pairConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("not one of a pair of Unix sockets")
	}
	return u, nil
}
