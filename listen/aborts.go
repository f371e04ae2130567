package listen

import (
	"net/http"
	"sync"
	"time"
)

// maxAborts is how many requests a client may give up a second on a connection
// of HTTP/2 or 3, and so many at once: a page whose user types or scrolls gives
// up some tens. One that goes on for longer only wants them to be begun, for
// which a frame of nine bytes is enough (CVE-2023-44487), and its connection is
// closed.
const maxAborts = 200

// aborts counts the requests that a client gave up.
type aborts struct {
	mu   sync.Mutex
	left bucket
}

// tooMany counts r, once it was served, and reports whether its client gives up
// too many.
func (a *aborts) tooMany(r *http.Request) bool {
	if r.Context().Err() == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.left.take(maxAborts, time.Now())
}

// judge ends a connection whose client has given up r and too many others.
func (c *connection) judge(r *http.Request) {
	if c.aborts.tooMany(r) && c.end != nil {
		c.end()
	}
}
