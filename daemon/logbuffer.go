package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// logDelay is how long the record of a request may wait for others, so that
	// a busy server writes many at once.
	logDelay = 100 * time.Millisecond

	// fullLog is how many bytes are written without waiting for more.
	fullLog = 32 << 10

	// maxLogHeld is how many bytes may wait while the file takes none. What comes
	// then is dropped: nothing else of the server is to wait for its log.
	maxLogHeld = 1 << 20

	// maxRecord is how many bytes a record has; of a longer one only that is logged.
	maxRecord = 64 << 10

	// lastLog is how long the end of the program waits for the file.
	lastLog = time.Second
)

// logBuffer is in front of the log's file, to which a goroutine of its own writes.
// What is written to the buffer goes on at once, after what waits; what is written
// to [logBuffer.later] may wait.
type logBuffer struct {
	to         io.Writer
	handler    func(io.Writer) slog.Handler // of the records of its own
	soon, now  chan struct{}                // hold one when something is to be written
	ended      chan struct{}                // closed by close
	goroutines sync.WaitGroup

	mu      sync.Mutex
	held    []byte
	dropped int // records
}

// newLogBuffer is to be closed.
func newLogBuffer(to io.Writer) *logBuffer {
	b := &logBuffer{to: to, handler: newLogHandler(false, nil), soon: make(chan struct{}, 1), now: make(chan struct{}, 1), ended: make(chan struct{})}
	b.goroutines.Go(b.run)
	return b
}

// close writes what waits, unless the file does not take it. Later records are lost.
func (b *logBuffer) close() {
	close(b.ended)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.goroutines.Wait()
	}()
	select {
	case <-done:
	case <-time.After(lastLog):
	}
}

func (b *logBuffer) run() {
	timer := time.NewTimer(logDelay)
	defer timer.Stop()
	for {
		select {
		case <-b.now:
		case <-b.soon:
			timer.Reset(logDelay)
			select {
			case <-timer.C:
			case <-b.now:
			case <-b.ended:
			}
		case <-b.ended:
			b.flush()
			return
		}
		b.flush()
	}
}

// flush writes what waits.
func (b *logBuffer) flush() {
	b.mu.Lock()
	out, dropped := b.held, b.dropped
	b.held, b.dropped = nil, 0
	b.mu.Unlock()
	if dropped > 0 {
		out = append(out, b.record("records of the log were dropped, since nobody took them", slog.Int("records", dropped))...)
	}
	if len(out) > 0 {
		_, _ = b.to.Write(out) // a log that cannot be written has nowhere to say so
	}
}

// record returns one about the log itself, which is written whatever log.level says.
func (b *logBuffer) record(msg string, attr slog.Attr) []byte {
	var text bytes.Buffer
	r := slog.NewRecord(time.Now(), slog.LevelWarn, msg, 0)
	r.AddAttrs(attr)
	_ = b.handler(&text).Handle(context.Background(), r) // a buffer takes it
	return text.Bytes()
}

// add keeps a record to be written, and returns how many bytes wait.
func (b *logBuffer) add(p []byte) int {
	if n := len(p); n > maxRecord {
		p = b.record("a record of the log was too long to be kept", slog.Int("bytes", n))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.held)+len(p) > maxLogHeld {
		b.dropped++
	} else {
		b.held = append(b.held, p...)
	}
	return len(b.held)
}

// Write keeps a record to be written at once.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.add(p)
	signalOnce(b.now)
	return len(p), nil
}

// later is the writer of records that may wait.
func (b *logBuffer) later() io.Writer { return waiting{b} }

type waiting struct{ *logBuffer }

func (w waiting) Write(p []byte) (int, error) {
	if w.add(p) >= fullLog {
		signalOnce(w.now)
	} else {
		signalOnce(w.soon)
	}
	return len(p), nil
}

// signalOnce puts one into c, unless it has one.
func signalOnce(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
