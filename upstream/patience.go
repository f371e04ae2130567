package upstream

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peerPatience is what is known of how long an endpoint keeps an idle HTTP/1.1
// connection. A request sent at the moment when the peer closes is lost, so
// connections are used again only well before.
type peerPatience struct {
	seen [4]time.Duration // the last times after which the peer closed
	n    int              // of seen, so far
	last time.Time
	hint time.Duration // its Keep-Alive field (RFC 2068 §19.7.1); 0: none
}

// together is the time in which closes are taken for one: an idle timer
// closes connections at moments of their own, a restart all at once.
const together = 50 * time.Millisecond

// noTimer is what no idle timer is shorter than: a peer that closes sooner has
// another reason, such as its end. To learn from that would end all reuse.
const noTimer = 3 * time.Millisecond

// closed notes that the peer closed a connection that was idle for so long.
func (p *peerPatience) closed(now time.Time, idle time.Duration) {
	if idle < noTimer {
		return
	}
	if p.n > 0 && now.Sub(p.last) < together {
		i := (p.n - 1) % len(p.seen)
		p.seen[i] = max(p.seen[i], idle)
		return
	}
	p.seen[p.n%len(p.seen)] = idle
	p.n++
	p.last = now
}

// died is told that the endpoint refuses connections: what it closed a moment
// ago was closed by its end and not by a timer.
func (p *peerPatience) died(now time.Time) {
	const moment = 2 * time.Second
	if p.n == 0 || now.Sub(p.last) > moment {
		return
	}
	last := &p.seen[(p.n-1)%len(p.seen)]
	if p.n <= len(p.seen) {
		*last = 0
		p.n--
		return
	}
	*last = slices.Max(p.seen[:])
}

// survived notes that a connection was idle for so long and is still open,
// which speaks against the shortest time seen: that may have been a restart.
func (p *peerPatience) survived(idle time.Duration) {
	longer := idle * 5 / 4 // of which within takes 80 %
	if p.n == 0 {
		p.seen[0], p.n = longer, 1
		return
	}
	seen := p.seen[:min(p.n, len(p.seen))]
	seen[slices.Index(seen, slices.Min(seen))] = longer
}

// promised notes the Keep-Alive field of a response.
func (p *peerPatience) promised(field string) {
	for part := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(name, "timeout") {
			continue
		}
		if s, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil && s >= 0 && s < 1<<20 {
			p.hint = time.Duration(s) * time.Second
		}
	}
}

// learned returns how long the peer keeps a connection, as seen or else as
// promised; 0: not known. One time that is less than half of all others is a
// crash and no timer, until there is a second.
func (p *peerPatience) learned() time.Duration {
	known := p.seen
	seen := known[:min(p.n, len(known))]
	slices.Sort(seen)
	if len(seen) > 1 && seen[0] < seen[1]/2 {
		seen = seen[1:]
	}
	switch {
	case len(seen) == 0:
		return p.hint
	case p.hint > 0:
		return min(p.hint, seen[0])
	}
	return seen[0]
}

// unknown reports whether nothing was seen or promised.
func (p *peerPatience) unknown() bool { return p.n == 0 && p.hint == 0 }

// within returns how long a connection may be idle and be used again: 80 % of
// what was learned, less the little that the peer's clock is ahead.
func (p *peerPatience) within(most time.Duration) time.Duration {
	if p.unknown() {
		return min(most, unlearnedIdle)
	}
	return min(most, max(0, p.learned()*4/5-2*time.Millisecond))
}

// keepAlive returns the response's Keep-Alive field, which is for this hop.
func keepAlive(res *http.Response) string {
	if v := res.Header["Keep-Alive"]; len(v) > 0 {
		return v[0]
	}
	return ""
}
