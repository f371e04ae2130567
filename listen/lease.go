package listen

import "context"

// lease is the place of a connection that net/http does not serve any more: all
// that is left of it here, 64 bytes with the function that gives it back.
type lease struct {
	gate  *gate
	place place
}

// Detach lets the connection of the request whose context this is keep its place
// until release is called: in [Server.Stats], and under the limits on connections, of
// its address too. It is for who takes the connection over (http.Hijacker),
// before closing what net/http gave away, which would give the place back; what
// then serves the connection calls release when that has ended. release may be
// called at any time, and counts once. Of a connection that cannot be taken
// over, HTTP/2's or 3's, or of a request of no Server of this package, Detach
// does nothing, and neither does release.
func Detach(ctx context.Context) (release func()) {
	c := connOf(ctx)
	if c == nil {
		return func() {}
	}
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.stage == outside || c.protocol != 1 {
		return func() {}
	}
	l := &lease{gate: g, place: c.place}
	c.stage = outside
	return l.release
}

func (l *lease) release() { l.gate.leave(&l.place) }
