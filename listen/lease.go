package listen

import "context"

// Lease is the place of a connection that net/http does not serve any more: all
// that is left of it here, 40 bytes. The zero value is the place of none. It must
// not be copied once it is used.
type Lease struct {
	gate  *gate
	place place
}

// Detach lets the connection of the request whose context this is keep its place
// until Release is called: in [Server.Stats], and under the limits on connections, of
// its address too. It is for who takes the connection over (http.Hijacker),
// before closing what net/http gave away, which would give the place back; what
// then serves the connection calls Release when that has ended. Of a connection
// that cannot be taken over, HTTP/2's or 3's, or of a request of no Server of
// this package, Detach does nothing, and neither does Release.
func Detach(ctx context.Context) Lease {
	c := connOf(ctx)
	if c == nil {
		return Lease{}
	}
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.stage == outside || c.protocol != 1 {
		return Lease{}
	}
	l := Lease{gate: g, place: c.place}
	c.stage = outside
	g.unlist(c)
	return l
}

// Release gives the place back. It may be called at any time, and counts once.
func (l *Lease) Release() {
	if l.gate != nil {
		l.gate.leave(&l.place)
	}
}
