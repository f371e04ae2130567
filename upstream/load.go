package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

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
	samples int       // since it was new, fewSamples at most
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
	// The weight grows from 1, so that the first sample is soon but one of
	// many. It came over a cold connection: a faster second one replaces it.
	l.weight = l.weight*faded(l.sampled, now, latencyMemory) + 1
	if l.weight <= 2 && float64(latency) < l.mean {
		l.mean = float64(latency)
	}
	l.mean += (float64(latency) - l.mean) / l.weight
	l.sampled = now
	l.samples = min(l.samples+1, fewSamples)
}

// startSlowly begins a slow start. What was known of the endpoint is
// forgotten: it is new, or what made it fail is over.
func (l *load) startSlowly(now time.Time) {
	l.slowFrom.Store(&now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched, l.mean, l.weight, l.samples, l.good, l.bad = time.Time{}, 0, 0, 0, 0, 0
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

const (
	// fewSamples is how many say so much of an endpoint's latency that it is
	// remembered for half of latencyMemory.
	fewSamples = 4
	// fewSlower is how much slower than the fastest an endpoint with fewer samples
	// counts at most: they may be of cold connections, and so it is asked again.
	fewSlower = 1.5
)

// cost is what a further request there would cost, to be compared with that
// of others among from:
//
//	latency × (in flight + 1) × failure penalty
//
// The penalty is the expected number of attempts per success, with one success
// assumed, to the fourth power: one failure among 30 outcomes costs an eighth
// more, one in two 14 times, nothing but failures a million times, more
// than any number in flight elsewhere makes up for. The cost fades while
// nothing is sent there, so that a bad memory is tested now and then. failing
// says that the penalty is what decides: every other request fails, or more.
func (l *load) cost(now time.Time, from []*load) (cost float64, failing bool) {
	l.mu.Lock()
	latency, sampled, weight, few := l.mean, l.weight > 0, l.weight, l.samples < fewSamples
	touched := l.touched
	fade := faded(l.judged, now, outcomeMemory)
	good, bad := l.good*fade+1, l.bad*fade
	l.mu.Unlock()
	if touched.IsZero() {
		return 0, false
	}
	switch {
	case !sampled:
		latency = meanLatency(from)
	case few:
		latency = min(latency, fewSlower*max(leastLatency(from), float64(latencyFloor)))
	}
	attempts := (good + bad) / good
	penalty := attempts * attempts * attempts * attempts
	memory := float64(latencyMemory)
	if sampled && bad < 0.1 { // few samples are soon tested
		memory *= weight / (weight + fewSamples)
	}
	cost = max(latency, float64(latencyFloor)) * faded(touched, now, max(time.Second, time.Duration(memory))) *
		float64(l.inFlight.Load()+1) * penalty
	return cost, bad >= good
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

// leastLatency is that of the fastest.
func leastLatency(from []*load) float64 {
	least := math.Inf(1)
	for _, l := range from {
		l.mu.Lock()
		if l.weight > 0 {
			least = min(least, l.mean)
		}
		l.mu.Unlock()
	}
	return least
}
