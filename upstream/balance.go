package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

const (
	// latencyMemory is after how long a latency counts for 1/e.
	latencyMemory = 10 * time.Second
	// latencyFloor is the latency below which endpoints are equally fast:
	// what is less is the scheduler's noise.
	latencyFloor = 100 * time.Microsecond
	// outcomeMemory is after how long a success or failure counts for 1/e,
	// and maxOutcomes how many count at most: an endpoint that begins to fail
	// is shunned after about twenty failures however busy it was before.
	outcomeMemory = 30 * time.Second
	maxOutcomes   = 32
)

// load is what the balancer knows of an endpoint. It must not be copied; key
// is set before its use and stays.
type load struct {
	key string

	inFlight atomic.Int64
	slowFrom atomic.Pointer[time.Time] // when the last slow start began; nil: never

	once   sync.Once // for the next two, see identify
	cookie string
	seed   uint64

	turn float64 // when it is its turn again, guarded by balancer.mu

	mu      sync.Mutex
	touched time.Time // last picked by p2c or observed; zero: not yet
	mean    float64   // latency of successes in ns, a moving average
	weight  float64   // of the samples in mean, faded to sampled; 0: none
	sampled time.Time
	good    float64 // successes and failures, faded to judged
	bad     float64
	judged  time.Time
}

// begin counts a request as under way there, until end.
func (l *load) begin()           { l.inFlight.Add(1) }
func (l *load) end()             { l.inFlight.Add(-1) }
func (l *load) inFlightNow() int { return int(l.inFlight.Load()) }

// faded returns what is left of 1 after the time from then to now.
func faded(then, now time.Time, memory time.Duration) float64 {
	if age := now.Sub(then); age > 0 {
		return math.Exp(-float64(age) / float64(memory))
	}
	return 1 // two goroutines may have looked at the clock in another order
}

// observe takes in how a request went: how long its header took, or that it
// failed; the latency of a failure says nothing.
func (l *load) observe(now time.Time, latency time.Duration, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched = now
	fade := faded(l.judged, now, outcomeMemory)
	if total := (l.good + l.bad) * fade; total > maxOutcomes-1 {
		fade *= (maxOutcomes - 1) / total
	}
	l.good, l.bad, l.judged = l.good*fade, l.bad*fade, now
	if failed {
		l.bad++
		return
	}
	l.good++
	// The weight grows from 1, so that the first sample, which came over a
	// cold connection, is soon but one of many.
	l.weight = l.weight*faded(l.sampled, now, latencyMemory) + 1
	l.mean += (float64(latency) - l.mean) / l.weight
	l.sampled = now
}

// startSlowly begins a slow start. What was known of the endpoint is
// forgotten: it is new, or what made it fail is over.
func (l *load) startSlowly(now time.Time) {
	l.slowFrom.Store(&now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched, l.mean, l.weight, l.good, l.bad = time.Time{}, 0, 0, 0, 0
}

// share is how much of its part the endpoint gets, from 0.1 at the beginning
// of its slow start to 1 after slow.
func (l *load) share(now time.Time, slow time.Duration) float64 {
	from := l.slowFrom.Load()
	if from == nil || slow <= 0 {
		return 1
	}
	return min(1, 0.1+0.9*max(0, float64(now.Sub(*from))/float64(slow)))
}

// latency is the moving average of the time to the header of a success; 0:
// there was none.
func (l *load) latency() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.mean)
}

// failureRate is the share of failures among the last outcomes.
func (l *load) failureRate() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bad == 0 {
		return 0
	}
	return l.bad / (l.good + l.bad)
}

// cost is what a further request there would cost, to be compared with that
// of others among from:
//
//	latency × (in flight + 1) × failure penalty
//
// The penalty is the expected number of attempts per success, with one success
// assumed, to the fourth power: one failure among 30 outcomes costs an eighth
// more, one in two 14 times, nothing but failures a million times, more
// than any number in flight elsewhere makes up for. The cost fades while
// nothing is sent there, so that a bad memory is tested now and then.
func (l *load) cost(now time.Time, from []*load) float64 {
	l.mu.Lock()
	latency, sampled := l.mean, l.weight > 0
	touched := l.touched
	fade := faded(l.judged, now, outcomeMemory)
	good, bad := l.good*fade+1, l.bad*fade
	l.mu.Unlock()
	if touched.IsZero() {
		return 0
	}
	if !sampled {
		latency = meanLatency(from)
	}
	attempts := (good + bad) / good
	penalty := attempts * attempts * attempts * attempts
	return max(latency, float64(latencyFloor)) * faded(touched, now, latencyMemory) *
		float64(l.inFlight.Load()+1) * penalty
}

// meanLatency is what is expected of an endpoint that nothing is known of: so
// it neither starves nor is flooded.
func meanLatency(from []*load) float64 {
	sum, n := 0.0, 0.0
	for _, l := range from {
		l.mu.Lock()
		if l.weight > 0 {
			sum, n = sum+l.mean, n+1
		}
		l.mu.Unlock()
	}
	return sum / max(n, 1)
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

// better returns the cheaper of two taken at random.
func (b *balancer) better(from []*load, now time.Time) *load {
	if len(from) == 1 {
		return from[0]
	}
	i, j := rand.IntN(len(from)), rand.IntN(len(from)-1)
	if j >= i {
		j++
	}
	best, other := from[i], from[j]
	if other.cost(now, from) < best.cost(now, from) {
		best, other = other, best
	}
	// A slow start is a matter of chance rather than of cost: as long as
	// little is in flight, the costlier of two gets nothing at all.
	if have, want := best.share(now, b.slow), other.share(now, b.slow); have < want && rand.Float64()*want > have {
		return other
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
