package listen

import (
	"context"
	"time"
)

// A client that floods a connection would only come back at once to go on. So it
// pays with its rate of new connections, for a time; a second of it is what
// Limits.Rate fills in a second.
const (
	// floodPrice is for a connection that had to be ended.
	floodPrice = time.Second
	// blamePrice is for a request that asked too much, by [Blame].
	blamePrice = time.Second / 10
	// maxDebt is how long a client may have to wait: others may share its
	// address.
	maxDebt = 30 * time.Second
)

// Blame says, of the request whose context this is, that it asked for far more
// work than an honest one. Its connection ends after the response, whose header
// is not sent yet, and its client may open fewer connections for a tenth of a
// second (see Limits.Rate). Of a request of no Server of this package, or of an
// exempt peer, it does nothing.
func Blame(ctx context.Context) {
	c := connOf(ctx)
	if c == nil || !c.client.IsValid() {
		return
	}
	c.blamed.Store(true)
	c.gate.charge(c, blamePrice)
}

// charge has the client of a connection pay as much of its rate as comes in d.
func (g *gate) charge(c *connection, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rate := float64(g.limits.Rate)
	if known := g.clients.of[c.client]; known != nil && rate > 0 {
		known.bucket.tokens = max(known.bucket.tokens-rate*d.Seconds(), -rate*maxDebt.Seconds())
	}
}
