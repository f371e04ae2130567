package fanout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// writeBytes is how much is written to a stream at once, a record of TLS: each
// such piece has Options.WriteTimeout for itself.
const writeBytes = 16 << 10

// buffers are where small frames are put together.
var buffers = sync.Pool{New: func() any { return new([writeBytes]byte) }}

// writer writes to a stream for one goroutine, which others may interrupt. It
// does not touch the stream but while that goroutine writes.
type writer struct {
	conn     *Conn
	stream   Stream
	timeout  time.Duration
	buffered atomic.Int64 // bytes given and not written
	sent     time.Time    // when a byte was

	// mu guards the stream's deadline, and what follows.
	mu      sync.Mutex
	writing bool      // a Write may wait
	until   time.Time // its deadline
	limit   time.Time // of all of them; zero: timeout for each
	cut     bool      // nothing more is to be written
}

// send writes frames, small ones together.
func (w *writer) send(ctx context.Context, frames [][]byte) error {
	var buffer *[writeBytes]byte
	for len(frames) > 0 {
		var p []byte
		if len(frames) == 1 || len(frames[0]) >= writeBytes {
			p = frames[0][:min(len(frames[0]), writeBytes)]
			frames = skip(frames, len(p))
		} else {
			if buffer == nil {
				buffer = buffers.Get().(*[writeBytes]byte)
			}
			p, frames = gather(buffer[:0], frames)
		}
		if err := w.put(ctx, p); err != nil {
			return err // buffer is lost: HTTP/2 may still read from it
		}
	}
	if buffer != nil {
		buffers.Put(buffer)
	}
	return nil
}

// gather fills dst with what frames begin with, and returns what is left.
func gather(dst []byte, frames [][]byte) (p []byte, rest [][]byte) {
	for len(frames) > 0 && len(dst) < cap(dst) {
		n := min(cap(dst)-len(dst), len(frames[0]))
		dst = append(dst, frames[0][:n]...)
		frames = skip(frames, n)
	}
	return dst, frames
}

// skip returns frames without n bytes of the first.
func skip(frames [][]byte, n int) [][]byte {
	if frames[0] = frames[0][n:]; len(frames[0]) == 0 {
		return frames[1:]
	}
	return frames
}

// put writes p.
func (w *writer) put(ctx context.Context, p []byte) error {
	err := w.arm()
	if err != nil {
		return w.why(ctx, err, time.Time{})
	}
	n, err := w.stream.Write(p)
	until := w.disarm()
	if n > 0 {
		w.sent = time.Now()
		w.conn.lastSent.Store(w.sent.UnixNano())
		w.conn.sent.Add(uint64(n))
		w.buffered.Add(-int64(n))
	}
	if err != nil {
		return w.why(ctx, err, until)
	}
	return nil
}

// arm sets the deadline of a Write that begins.
func (w *writer) arm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return os.ErrDeadlineExceeded
	}
	if w.until = w.limit; w.until.IsZero() {
		w.until = time.Now().Add(w.timeout)
	}
	err := w.stream.SetWriteDeadline(w.until)
	w.writing = err == nil
	return err
}

// disarm takes the deadline off, and returns what it was: HTTP/2 resets a stream
// whose deadline passes while nothing is written.
func (w *writer) disarm() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if !w.cut {
		_ = w.stream.SetWriteDeadline(time.Time{}) // a stream without deadlines has refused the first
	}
	return w.until
}

// bound has all Writes fail at t, also one that waits.
func (w *writer) bound(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit = t; w.writing && !w.cut {
		w.until = t
		_ = w.stream.SetWriteDeadline(t)
	}
}

// interrupt has a Write that waits fail, and those that come.
func (w *writer) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = true; w.writing {
		_ = w.stream.SetWriteDeadline(time.Unix(1, 0)) // long past
	}
}

// why returns the error of a connection on which a Write that was to end by
// until failed by err. Not every stream calls that os.ErrDeadlineExceeded.
func (w *writer) why(ctx context.Context, err error, until time.Time) error {
	switch {
	case w.conn.reset.Load():
		return ErrReset
	case !until.IsZero() && !time.Now().Before(until):
		return ErrStalled
	case ctx.Err() != nil:
		return ErrGone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("fanout: serve a stream that has no deadlines: %w", err)
	}
	return ErrGone
}

// closeWrite ends what is sent. A client that does not see it sees Close.
func (w *writer) closeWrite() {
	if err := w.arm(); err != nil {
		return
	}
	_ = w.stream.CloseWrite()
	w.disarm()
}

// close closes the stream, which is not touched any more.
func (w *writer) close() {
	w.mu.Lock()
	w.cut, w.writing = true, false
	w.mu.Unlock()
	_ = w.stream.Close() // why it ended is known
}
