package rpc

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// line is the stream below a call, which connect-go does not show to those it calls.
type line struct {
	rc       *http.ResponseController
	patience time.Duration // of a write

	mu   sync.Mutex
	hung bool
}

type lineKey struct{}

func (l *line) in(ctx context.Context) context.Context { return context.WithValue(ctx, lineKey{}, l) }

// lineOf returns the line of the call. [Handler] has put it there.
func lineOf(ctx context.Context) *line {
	l, _ := ctx.Value(lineKey{}).(*line)
	return l
}

// sending gives what is written from now on its time.
func (l *line) sending() { l.writeBy(time.Now().Add(l.patience)) }

// sent ends that: on HTTP/2 the deadline would end the stream, though nothing is
// being written.
func (l *line) sent() { l.writeBy(time.Time{}) }

func (l *line) writeBy(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hung {
		_ = l.rc.SetWriteDeadline(t) // some writers have none, such as a recorder in a test
	}
}

// hangUp breaks what is being written, and all that would be.
func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hung = true
	_ = l.rc.SetWriteDeadline(time.Now())
}

// deafen ends reading.
func (l *line) deafen() { _ = l.rc.SetReadDeadline(time.Now()) }
