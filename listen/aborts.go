package listen

import (
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A client may give requests up, as a page does whose user types on. One that
// does so as fast as it can only wants them to be begun, for which a frame of
// nine bytes is enough (CVE-2023-44487), and its connection is closed. As many a
// second as Limits.Streams, or minAborts, are allowed, and as many at once: all
// that a client has, when its page is left. Only those count that were given up
// within abortTime of being asked; a stream that its client leaves is none.
const (
	abortTime = time.Second
	minAborts = 250 // where a client may have fewer streams
)

// aborts counts the requests that a client gave up.
type aborts struct {
	mu   sync.Mutex
	left bucket
	over bool // the connection was ended
	// How many streams the client ended with NO_ERROR, which gives nothing up though it
	// cancels the request; at most minAborts.
	answered int32
}

// forgive notes that so many streams were ended with NO_ERROR.
func (a *aborts) forgive(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered = int32(min(int(a.answered)+n, minAborts)) //nolint:gosec // few
}

// judge ends a connection whose client has given up r, which began then, and
// too many others. Load balancers, which are exempt, have many clients.
func (c *connection) judge(r *http.Request, began time.Time) {
	if r.Context().Err() == nil || c.end == nil || c.gate == nil {
		return
	}
	now := time.Now()
	limits := &c.gate.limits
	if now.Sub(began) > abortTime || limits.Streams <= 0 || limits.exempts(r.RemoteAddr) {
		return
	}
	c.aborts.mu.Lock()
	if c.aborts.answered > 0 {
		c.aborts.answered--
		c.aborts.mu.Unlock()
		return
	}
	ends := !c.aborts.over && !c.aborts.left.take(max(limits.Streams, minAborts), now)
	c.aborts.over = c.aborts.over || ends
	c.aborts.mu.Unlock()
	if ends {
		c.note(flooded)
		c.gate.charge(c, floodPrice)
		c.end()
	}
}

// ended reports whether judge has ended the connection: what is still begun on
// it is for nobody.
func (c *connection) ended() bool {
	c.aborts.mu.Lock()
	defer c.aborts.mu.Unlock()
	return c.aborts.over
}

// exempts reports whether the address, with a port, is that of a load balancer.
func (l *Limits) exempts(from string) bool {
	if len(l.Exempt) == 0 {
		return false
	}
	at, err := netip.ParseAddrPort(from)
	return err == nil && slices.ContainsFunc(l.Exempt, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) })
}
