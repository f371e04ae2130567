package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The policies of [Balance].
const (
	policyP2C        = "p2c"
	policyRoundRobin = "round_robin"
	policyLeast      = "least_in_flight"
	policyHash       = "hash"
	policySticky     = "sticky"
)

// ParseBalance reads a Balance from what stands in a configuration: "p2c",
// "round_robin", "least_in_flight", "hash header NAME", "hash cookie NAME",
// "sticky" or "sticky COOKIE". Nothing is p2c. An error says what is known.
func ParseBalance(s string) (Balance, error) {
	words := strings.Fields(s)
	b := Balance{Policy: policyP2C}
	if len(words) > 0 {
		b.Policy, b.Source = words[0], strings.Join(words[1:], " ")
	}
	if err := b.check(); err != nil {
		return Balance{}, err
	}
	return b, nil
}

// String returns the policy as [ParseBalance] reads it; SlowStart is not part
// of that.
func (b Balance) String() string {
	return strings.TrimSuffix(or(b.Policy, policyP2C)+" "+b.Source, " ")
}

// check says what is wrong with the policy or its source.
func (b Balance) check() error {
	kind, name, two := strings.Cut(b.Source, " ")
	switch b.Policy {
	case "", policyP2C, policyRoundRobin, policyLeast:
		if b.Source != "" {
			return fmt.Errorf("upstream: balance: nothing follows %s, but %q does", b, b.Source)
		}
	case policyHash:
		if !two || kind != "header" && kind != "cookie" || !isToken(name) {
			return fmt.Errorf(`upstream: balance: hash needs a source: write "hash header NAME" or "hash cookie NAME", not %q`, b)
		}
	case policySticky:
		if b.Source != "" && !isToken(b.Source) {
			return fmt.Errorf("upstream: balance: %q is not the name of a cookie: letters, digits and - _ . are safe", b.Source)
		}
	default:
		return fmt.Errorf("upstream: balance: %q is unknown; there are p2c, round_robin, least_in_flight, hash and sticky", b.Policy)
	}
	return nil
}

// isToken says whether s is a token (RFC 9110 §5.6.2), as names of fields and
// cookies are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// balancer chooses the endpoint of each request.
type balancer struct {
	policy string
	slow   time.Duration // slow start; not positive: none
	header string        // hash by this field, in its canonical form
	cookie string        // hash by this cookie, or the one of sticky

	mu   sync.Mutex
	turn float64 // of the endpoint picked last, guards load.turn too
}

func newBalancer(b Balance) (*balancer, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	b = Config{Balance: b}.withDefaults().Balance
	out := &balancer{policy: b.Policy, slow: b.SlowStart}
	switch kind, name, _ := strings.Cut(b.Source, " "); {
	case b.Policy == policySticky:
		out.cookie = b.Source
	case kind == "header":
		out.header = http.CanonicalHeaderKey(name)
	case kind == "cookie":
		out.cookie = name
	}
	return out, nil
}

// pick returns one of from, which is not empty and holds only endpoints that
// can be used and have not been tried. It may be called concurrently.
func (b *balancer) pick(r *http.Request, from []*load, now time.Time) *load {
	switch b.policy {
	case policyRoundRobin, policyLeast:
		return b.inTurn(from, now)
	case policyHash:
		if value := b.value(r); value != "" {
			return rendezvous(value, from)
		}
	case policySticky:
		if l := named(b.value(r), from); l != nil {
			return l
		}
	}
	l := b.better(from, now)
	l.mu.Lock()
	l.touched = now
	l.mu.Unlock()
	return l
}

// prefer reports whether what costs a is to be taken rather than what costs b.
// Costs within a factor of two are weighed by their third power, since moving
// averages of equal endpoints differ as well: without chance, the one that looks
// best would get all that is sent one at a time.
func prefer(a, b float64) bool {
	const alike = 2
	if a >= b*alike || b >= a*alike {
		return a < b
	}
	return rand.Float64()*(a*a*a+b*b*b) < b*b*b
}

// better returns the cheaper of two taken at random, and the cheapest of all if
// both fail: there may be one that does not.
func (b *balancer) better(from []*load, now time.Time) *load {
	if len(from) == 1 {
		return from[0]
	}
	i, j := rand.IntN(len(from)), rand.IntN(len(from)-1)
	if j >= i {
		j++
	}
	best, other := from[i], from[j]
	lower, bestFails := best.cost(now, from)
	higher, otherFails := other.cost(now, from)
	if !prefer(lower, higher) {
		best, other, bestFails, otherFails = other, best, otherFails, bestFails
	}
	if bestFails && otherFails {
		return cheapest(from, now)
	}
	// A slow start is a matter of chance rather than of cost: as long as
	// little is in flight, the costlier of two gets nothing at all.
	have, want := best.share(now, b.slow), other.share(now, b.slow)
	if have < want && !otherFails && rand.Float64()*want > have {
		return other
	}
	return best
}

func cheapest(from []*load, now time.Time) *load {
	var best *load
	var lowest float64
	for _, l := range from {
		if cost, _ := l.cost(now, from); best == nil || cost < lowest {
			best, lowest = l, cost
		}
	}
	return best
}

// inTurn returns the endpoint whose turn is next; for least_in_flight, of those
// with the fewest requests. Each turn is a step on a common clock, longer for
// an endpoint in its slow start; who was away for a while does not catch up.
func (b *balancer) inTurn(from []*load, now time.Time) *load {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *load
	var fewest, next, step float64
	for _, l := range from {
		share := l.share(now, b.slow)
		requests := 0.0
		switch {
		case b.policy != policyLeast:
		case share < 1 && l.turn > b.turn: // empty as it is, it would get all
			requests = math.Inf(1)
		default:
			requests = float64(l.inFlight.Load())
		}
		turn := max(l.turn, b.turn)
		if best == nil || requests < fewest || requests == fewest && turn < next {
			best, fewest, next, step = l, requests, turn, 1/share
		}
	}
	b.turn = next
	best.turn = next + step
	return best
}
