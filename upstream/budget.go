package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds the retries of requests that may have been received: a share
// of all requests, and retryRate a second beside it, so that a pool with few
// requests has some. When an endpoint dies under load the burst of what it
// held is retried, from what is in the bucket; a backend that fails everything
// gets no more than the share on top of its load for long. It is safe for
// concurrent use.
type budget struct {
	ratio    float64
	requests atomic.Int64 // since the last take: all that a request costs is this

	mu     sync.Mutex
	tokens float64 // one for each retry
	last   time.Time
}

const (
	retryRate  = 3.0   // tokens a second
	retryStart = 30.0  // in the bucket of a new pool
	retryMost  = 100.0 // that it holds
)

// newBudget returns a budget of ratio × requests; if that is negative, none.
func newBudget(ratio float64) *budget { return &budget{ratio: ratio, tokens: retryStart} }

// request pays in for a request. Retries are none.
func (b *budget) request() { b.requests.Add(1) }

// take reports whether one more retry is allowed, and counts it.
func (b *budget) take(now time.Time) bool {
	if b.ratio < 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens += b.ratio * float64(b.requests.Swap(0))
	if !b.last.IsZero() {
		b.tokens += retryRate * max(0, now.Sub(b.last).Seconds())
	}
	b.last = now
	b.tokens = min(b.tokens, retryMost)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
