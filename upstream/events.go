package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// Event is something that happened to a pool, and why.
type Event struct {
	Seq      uint64    `json:"seq"` // rising by one
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // opened, closed, dial_failed, ejected, returned, unhealthy, healthy, endpoint_added, endpoint_removed, resolve_failed, refused, retried, panic
	Endpoint string    `json:"endpoint,omitempty"`
	Conn     uint64    `json:"conn,omitempty"`   // see ConnectionInfo.ID
	Reason   string    `json:"reason,omitempty"` // one word of a fixed set, such as a CloseReason
	Why      string    `json:"why"`              // for people
}

// maxEvents is how many events a pool remembers.
const maxEvents = 256

// ring keeps the last maxEvents events. It is safe for concurrent use.
type ring struct {
	mu   sync.Mutex
	kept [maxEvents]Event // of Seq s at s % maxEvents
	last uint64           // Seq of the latest
	more chan struct{}    // closed at the next add; nil while nobody waits
}

func newRing() *ring { return new(ring) }

// add keeps e, of which it sets Seq and Time.
func (r *ring) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	e.Seq, e.Time = r.last, time.Now()
	r.kept[e.Seq%maxEvents] = e
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// since returns the events after that of the Seq given, oldest first, and a
// channel that is closed when there is a further one. Who asks too late finds
// the first Seq to be more than after+1. A Seq that has not been given yet is
// another pool's, and counts as 0.
func (r *ring) since(after uint64) (events []Event, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after > r.last {
		after = 0
	}
	if r.last > maxEvents {
		after = max(after, r.last-maxEvents)
	}
	if n := r.last - after; n > 0 {
		events = make([]Event, 0, n)
		for seq := after + 1; seq <= r.last; seq++ {
			events = append(events, r.kept[seq%maxEvents])
		}
	}
	if r.more == nil {
		r.more = make(chan struct{})
	}
	return events, r.more
}

// seldom reports whether it last did so 100 ms ago or longer: what happens to
// requests, unlike what happens to connections, could fill the ring at once.
// All are counted.
func seldom(last *atomic.Int64, now time.Time) bool {
	const pause = int64(100 * time.Millisecond)
	then := last.Load()
	return now.UnixNano()-then >= pause && last.CompareAndSwap(then, now.UnixNano())
}
