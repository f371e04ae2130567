package capture

import (
	"context"
	"sync"
	"time"
)

// beat interrupts waits that last. It keeps one timer and one context for many
// waits, since to make them for each event would cost as much as the event.
type beat struct {
	parent context.Context
	every  time.Duration
	last   time.Time // when something was last heard; of the waiting goroutine

	mu      sync.Mutex
	ctx     context.Context // ends when the timer fires
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	stopped bool
}

func newBeat(parent context.Context, every time.Duration) *beat {
	b := &beat{parent: parent, every: every, last: time.Now()}
	b.ctx, b.cancel = context.WithCancelCause(parent)
	b.timer = time.AfterFunc(every, b.fire)
	return b
}

func (b *beat) fire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel(errBeat)
}

// wait returns the context to wait with.
func (b *beat) wait() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ctx
}

// heard notes that something came.
func (b *beat) heard() { b.last = time.Now() }

// due is called after an interruption: it starts over, and reports whether a
// heartbeat is due now.
func (b *beat) due() bool {
	now := time.Now()
	next := b.every - now.Sub(b.last)
	due := next <= 0
	if due {
		b.last, next = now, b.every
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ctx, b.cancel = context.WithCancelCause(b.parent)
	if b.stopped {
		b.cancel(errBeat)
		return false
	}
	b.timer.Reset(next)
	return due
}

func (b *beat) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.timer.Stop()
	b.cancel(errBeat)
}
