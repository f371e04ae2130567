package sse

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// ContentType is the media type of a stream (WHATWG HTML §9.2.6).
const ContentType = "text/event-stream"

// defaultWriteTimeout is the zero value of Writer.WriteTimeout.
const defaultWriteTimeout = 30 * time.Second

// keepFrame is the largest encoding buffer, in bytes, that a Writer keeps.
const keepFrame = 16 << 10

// Writer sends a stream as the response to one request. Each event is one
// write and is flushed, through every wrapper of the ResponseWriter that has an
// Unwrap method. The server's WriteTimeout, which would cut every stream after
// a fixed time, does not apply: each write has a deadline of its own.
//
// A Writer belongs to the handler that made it: it is not safe for concurrent
// use, and not to be used after the handler has returned.
type Writer struct {
	// WriteTimeout bounds each write, so that a reader that stopped reading
	// is found. Zero: 30 seconds.
	WriteTimeout time.Duration

	w     http.ResponseWriter
	rc    *http.ResponseController
	frame []byte
}

// NewWriter begins a stream on w: it sets Content-Type, "Cache-Control:
// no-store, no-transform" and "X-Accel-Buffering: no", sends the header with
// status 200 and returns once it is flushed. Other header fields must be set
// before.
//
// It fails when w cannot be flushed (a wrapper without Unwrap hides it);
// nothing has been sent then. It also fails when the connection is gone.
func NewWriter(w http.ResponseWriter) (*Writer, error) {
	s := &Writer{w: w, rc: http.NewResponseController(w)}
	h := w.Header()
	before := h.Clone()
	SetHeader(h)

	s.arm()
	err := s.rc.Flush()
	s.disarm()
	if errors.Is(err, http.ErrNotSupported) {
		clear(h)
		maps.Copy(h, before)
		return nil, fmt.Errorf("sse: start stream: %T cannot be flushed; give it FlushError, Flush or Unwrap: %w", w, err)
	}
	if err != nil {
		return nil, fmt.Errorf("sse: start stream: %w", err)
	}
	return s, nil
}

// SetHeader sets in h what the header of a stream has: Content-Type,
// "Cache-Control: no-store, no-transform", "X-Accel-Buffering: no", and no
// length. NewWriter does it by itself.
func SetHeader(h http.Header) {
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Del("Content-Length")
}

// Send encodes e and writes it. See Append for what it refuses; nothing is
// written then.
func (s *Writer) Send(e Event) error {
	frame, err := Append(s.frame[:0], e)
	if err != nil {
		return err
	}
	return s.send(frame)
}

// Comment writes text as comments, such as a heartbeat.
func (s *Writer) Comment(text string) error {
	return s.send(AppendComment(s.frame[:0], text))
}

// Position writes a block of only id and retry (see AppendPosition).
func (s *Writer) Position(id string, retry time.Duration) error {
	frame, err := AppendPosition(s.frame[:0], id, retry)
	if err != nil || len(frame) == 0 {
		return err
	}
	return s.send(frame)
}

func (s *Writer) send(frame []byte) error {
	if cap(frame) <= keepFrame {
		s.frame = frame
	}
	_, err := s.Write(frame)
	return err
}

// Write writes frame, whole blocks that are already encoded, in one write and
// flushes it.
func (s *Writer) Write(frame []byte) (int, error) {
	s.arm()
	defer s.disarm()
	n, err := s.w.Write(frame)
	if err != nil {
		return n, fmt.Errorf("sse: write: %w", err)
	}
	if err := s.rc.Flush(); err != nil {
		return n, fmt.Errorf("sse: flush: %w", err)
	}
	return n, nil
}

// arm sets the deadline of a write. Some writers have none, such as a
// recorder in a test; they are written to without.
func (s *Writer) arm() {
	d := s.WriteTimeout
	if d <= 0 {
		d = defaultWriteTimeout
	}
	_ = s.rc.SetWriteDeadline(time.Now().Add(d))
}

// Close bounds the end of the response, which net/http writes when the handler
// returns, by WriteTimeout too. Defer it; nothing may be written after it.
func (s *Writer) Close() { s.arm() }

// disarm takes the deadline off between writes: on HTTP/2 one that passes
// resets the stream even when nothing is being written, and on HTTP/1.1 it
// would fail the end of the response.
func (s *Writer) disarm() { _ = s.rc.SetWriteDeadline(time.Time{}) }
