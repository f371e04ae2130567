// Package tunnel makes a stream of bytes of an extended CONNECT: the request's
// body one way, the response's the other (RFC 8441 §4 on HTTP/2, RFC 9220 on
// HTTP/3). The rooms that speak WebSocket on it share it.
package tunnel

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Protocol returns the pseudo-header :protocol of an extended CONNECT, or "".
// It is for routing and not to be sent on: no header of a message has it.
func Protocol(r *http.Request) string {
	if r.Method != http.MethodConnect || r.ProtoMajor < 2 {
		return ""
	}
	return r.Header.Get(":protocol")
}

// Stream is the tunnel as an [io.ReadWriteCloser]. One Read and one Write may
// run at a time, and the other methods beside them. After Close, which must
// come before the handler's return, nothing touches the response any more.
type Stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	body io.ReadCloser

	mu      sync.Mutex // also held while w's deadlines are set, so that Close is the last
	closed  bool
	writing bool
	until   time.Time   // when a write fails; zero: never
	timer   *time.Timer // nil until a write has a deadline
}

// Open answers the request with 200 and what w.Header holds.
func Open(w http.ResponseWriter, r *http.Request) (*Stream, error) {
	s := &Stream{w: w, rc: http.NewResponseController(w), body: r.Body}
	// The server's deadlines were for a request. A writer without deadlines
	// has none to clear.
	_ = s.rc.SetReadDeadline(time.Time{})
	_ = s.rc.SetWriteDeadline(time.Time{})
	h := w.Header()
	h.Del("Content-Length") // RFC 9110 §9.3.6: not in a 2xx to CONNECT
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess one
	}
	w.WriteHeader(http.StatusOK)
	if err := s.rc.Flush(); err != nil {
		return nil, fmt.Errorf("tunnel: open: %w", err)
	}
	return s, nil
}

// Read reads what the client sent. The error is io.EOF when it has ended its
// half, a [net.ErrClosed] after Close.
func (s *Stream) Read(p []byte) (int, error) {
	if s.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := s.body.Read(p)
	if err != nil && s.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

// Write sends p at once.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	if s.end() && err != nil {
		err = net.ErrClosed
	}
	return n, err
}

// begin says that a write begins.
func (s *Stream) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if !s.until.IsZero() {
		left := time.Until(s.until)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		s.rewind(left)
	}
	s.writing = true
	return nil
}

// end says that it is over, and reports whether the stream was closed.
func (s *Stream) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if s.timer != nil {
		s.timer.Stop()
	}
	return s.closed
}

// rewind has expire called after left; the caller holds mu.
func (s *Stream) rewind(left time.Duration) {
	if s.timer == nil {
		s.timer = time.AfterFunc(left, s.expire)
		return
	}
	s.timer.Reset(left)
}

// expire fails the write in progress.
func (s *Stream) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing && !s.closed && !s.until.IsZero() && !time.Now().Before(s.until) {
		s.failWrite()
	}
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// failWrite makes the write in progress return; the caller holds mu. Over HTTP/2
// it resets the stream. An error means a writer without deadlines, which blocks
// until its connection ends.
func (s *Stream) failWrite() { _ = s.rc.SetWriteDeadline(past) }

// Close makes the Read and the Write in progress return, and those that come
// fail. The client sees the end of the stream when the handler returns; over
// HTTP/2 a reset where a Write was cut, which over HTTP/3 is for the handler to
// make, by a panic with [http.ErrAbortHandler].
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.writing {
		s.failWrite()
	}
	// Closing the body would do, but tells a client on HTTP/3 that its request
	// was cancelled.
	if s.rc.SetReadDeadline(past) != nil {
		return s.body.Close()
	}
	return nil
}

func (s *Stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline fails reads after t. On HTTP/2 there is no way back from a
// deadline that has passed.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.rc.SetReadDeadline(t)
}

// SetWriteDeadline fails writes after t. It resets the stream, but only when a
// write is in progress then: that of the ResponseController would reset a
// stream that is idle.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.until = t
	if s.writing && !t.IsZero() {
		s.rewind(max(time.Until(t), 0))
	}
	return nil
}
