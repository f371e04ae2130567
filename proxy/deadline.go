package proxy

import (
	"net/http"
	"sync"
	"time"
)

// stall gives each write to the client a deadline of its own. One timer an
// exchange is rewound by each write: setting and clearing the deadline itself
// would cost a system call, or on HTTP/2 two messages to the connection's
// goroutine, and one left set would reset a stream that is only idle, or the
// connection's next response.
type stall struct {
	w       *http.ResponseController
	timeout time.Duration // <= 0: none

	mu      sync.Mutex
	timer   *time.Timer
	until   time.Time // of the write in progress
	writing bool
}

// begin says that a write begins now.
func (s *stall) begin(now time.Time) {
	if s.timeout <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.until = true, now.Add(s.timeout)
	if s.timer == nil {
		s.timer = time.AfterFunc(s.timeout, s.expire)
		return
	}
	s.timer.Reset(s.timeout)
}

// end says that it is over, whatever came of it.
func (s *stall) end() {
	if s.timeout <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	s.timer.Stop()
}

// expire fails the write in progress. The lock keeps it from a response that
// is over, and of which net/http allows no use.
func (s *stall) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.writing && !now.Before(s.until) {
		// An error means a writer without deadlines: it blocks as it would.
		_ = s.w.SetWriteDeadline(now.Add(-time.Second))
	}
}
