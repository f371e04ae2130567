package client

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// backoff is the delay before the next try. It doubles from low to high, and
// each is drawn at random between half of it and all of it, so that the
// readers of a server that went away do not come back together.
type backoff struct {
	low, high time.Duration
	next      time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// delay returns the next delay. It is never shorter than hint, which is what
// the server asked for, and spread over up to half of that more.
func (b *backoff) delay(hint time.Duration) time.Duration {
	b.next = min(max(b.next*2, b.low), b.high)
	return spread(b.next, hint)
}

// least returns the delay after a connection that was of use: the first one
// there is, whatever came before, from where the next failure goes on.
func (b *backoff) least(hint time.Duration) time.Duration { return spread(b.low, hint) }

func spread(d, hint time.Duration) time.Duration {
	least, most := max(d/2, hint), max(d, hint+hint/2)
	return least + rand.N(most-least+1)
}

// sleep waits for d or until ctx is done, and reports whether it waited d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxHint bounds the delay that a server can ask for.
const maxHint = time.Hour

func bounded(hint time.Duration) time.Duration { return min(max(hint, 0), maxHint) }

// milliseconds makes a bounded hint of a number from the wire.
func milliseconds(n int64) time.Duration {
	return bounded(time.Duration(min(n, maxHint.Milliseconds())) * time.Millisecond)
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3); 0 when there is
// none that can be read.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return bounded(time.Duration(min(seconds, int64(maxHint.Seconds()))) * time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return bounded(time.Until(at))
	}
	return 0
}
