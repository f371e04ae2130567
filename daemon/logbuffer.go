package daemon

import (
	"io"
	"sync"
	"time"
)

const (
	// logDelay is how long the record of a request may wait for others, so that
	// a busy server writes many at once.
	logDelay = 100 * time.Millisecond

	// maxLogHeld is how many bytes may wait.
	maxLogHeld = 32 << 10
)

// logBuffer is in front of the log's file. What is written to it goes on at
// once, after what waits; what is written to [logBuffer.later] may wait.
type logBuffer struct {
	mu     sync.Mutex
	to     io.Writer
	held   []byte
	timer  *time.Timer // runs while something waits; nil before the first
	closed bool        // nothing waits any more
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
	return b.to.Write(p)
}

// close sends what waits. Later records go on at once.
func (b *logBuffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.flush()
}

// flush is called with b.mu held: the file is what it guards.
func (b *logBuffer) flush() {
	if len(b.held) == 0 {
		return
	}
	b.timer.Stop()
	_, _ = b.to.Write(b.held) // a log that cannot be written has nowhere to say so
	b.held = b.held[:0]
}

// later is the writer of records that may wait.
func (b *logBuffer) later() io.Writer { return waiting{b} }

type waiting struct{ *logBuffer }

func (w waiting) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.held)+len(p) > maxLogHeld {
		w.flush()
	}
	if w.closed || len(p) > maxLogHeld {
		return w.to.Write(p)
	}
	if len(w.held) == 0 {
		if w.timer == nil {
			w.timer = time.AfterFunc(logDelay, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.flush()
			})
		} else {
			w.timer.Reset(logDelay)
		}
	}
	w.held = append(w.held, p...)
	return len(p), nil
}
