package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead/internal/tunnel"
)

// Flow is one direction of a [Transfer].
type Flow struct {
	// Bytes is how many were passed on.
	Bytes int64
	// Buffered is how many are here now, in bytes: those of the write in
	// progress, and, of a response's body, what the server was given and not
	// told to flush, of which it keeps at most 4 KiB. What Config.Relay has
	// read and not begun to write is not among them, nor what a transport
	// keeps of a request's body.
	Buffered int64
	// Waiting is for how long the write in progress has been: long when the
	// receiver is slow. 0: nothing is being written.
	Waiting time.Duration
	// Last is when bytes were last passed on. Zero: none were.
	Last time.Time
}

// flow counts one direction, for one writer at a time; others may read it.
type flow struct {
	bytes, held atomic.Int64
	since, last atomic.Int64 // Unix nanoseconds; 0: no write is in progress, none was made
}

// begin says that a write begins, and returns the time: held bytes are here.
func (f *flow) begin(held int) time.Time {
	now := time.Now()
	f.held.Store(int64(held))
	f.since.Store(now.UnixNano())
	return now
}

// end says that it is over: some bytes were passed on, and held remain here.
func (f *flow) end(passed, held int) {
	if passed > 0 {
		f.last.Store(time.Now().UnixNano())
	}
	f.held.Store(int64(held))
	f.since.Store(0)
	f.bytes.Add(int64(passed)) // the last: who sees them sees the rest
}

// waiting is for how long the write in progress has been.
func (f *flow) waiting(now time.Time) time.Duration {
	since := f.since.Load()
	if since == 0 {
		return 0
	}
	return max(0, time.Duration(now.UnixNano()-since))
}

func (f *flow) at(now time.Time) Flow {
	s := Flow{Bytes: f.bytes.Load(), Buffered: f.held.Load(), Waiting: f.waiting(now)}
	if last := f.last.Load(); last != 0 {
		s.Last = time.Unix(0, last)
	}
	return s
}

// through writes p to w.
func (f *flow) through(w io.Writer, p []byte) (int, error) {
	f.begin(len(p))
	n, err := w.Write(p)
	f.end(n, 0)
	return n, err
}

// clientConn is the connection of a client on HTTP/1.1. It first reads what the
// client sent before its handshake was answered.
type clientConn struct {
	net.Conn
	early []byte
	flow  *flow
}

func (c *clientConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil // the server's buffer
	}
	return n, nil
}

func (c *clientConn) Write(p []byte) (int, error) { return c.flow.through(c.Conn, p) }

// CloseWrite ends one direction, where the connection can.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

// clientStream is the tunnel of a client on HTTP/2 or HTTP/3.
type clientStream struct {
	*tunnel.Stream
	flow *flow
}

func (s *clientStream) Write(p []byte) (int, error) { return s.flow.through(s.Stream, p) }

// upstreamConn is the upstream's end of an upgrade.
type upstreamConn struct {
	io.ReadWriteCloser
	flow *flow
}

func (c *upstreamConn) Write(p []byte) (int, error) { return c.flow.through(c.ReadWriteCloser, p) }

// CloseWrite ends one direction, where the body of the 101 can.
func (c *upstreamConn) CloseWrite() error { return closeWrite(c.ReadWriteCloser) }

// closeWrite ends one direction, or says that this cannot be done.
func closeWrite(w io.Writer) error {
	if c, ok := w.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
