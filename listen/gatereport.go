package listen

import (
	"log/slog"
	"net/netip"
	"time"
)

// reportEvery is how seldom it is logged that a limit is met.
const reportEvery = time.Minute

// report is what is to be known of a connection that was refused.
type report struct {
	why       *Refusal // nil: nothing is to be logged
	limit     int
	client    netip.Addr // may be the zero Addr
	addresses int        // with connections, of those that are counted
	served    int
}

// report returns what is to be logged of c, which was just decided on. g.mu is
// held.
func (g *gate) report(c *connection, addr netip.Addr) report {
	if c.why == nil {
		return report{}
	}
	now := time.Now()
	if last, ok := g.reported[c.why]; ok && now.Sub(last) < reportEvery {
		return report{}
	}
	g.reported[c.why] = now
	r := report{why: c.why, client: addr.Unmap(), addresses: g.clients.connected, served: g.served}
	switch c.why {
	case tooMany:
		r.limit = g.limits.Connections
	case tooManyOfClient:
		r.limit = g.limits.PerAddress
	case tooFast:
		r.limit = g.limits.Rate
	case noDescriptor:
		r.limit, _ = DescriptorLimit()
	}
	return r
}

func (r report) log(to *slog.Logger) {
	if r.why == nil {
		return
	}
	to.Warn("a connection is refused; further ones for this reason are not logged for a minute", "reason", r.why.Reason, "limit", r.limit,
		"client", r.client, "connections", r.served, "addresses", r.addresses)
}
