package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParseBalanceReadsEachPolicy(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Balance{
		"":                       {Policy: "p2c"},
		"p2c":                    {Policy: "p2c"},
		" round_robin\n":         {Policy: "round_robin"},
		"least_in_flight":        {Policy: "least_in_flight"},
		"hash header X-Tenant":   {Policy: "hash", Source: "header X-Tenant"},
		"hash  cookie  session":  {Policy: "hash", Source: "cookie session"},
		"sticky":                 {Policy: "sticky"},
		"sticky backend_of_shop": {Policy: "sticky", Source: "backend_of_shop"},
	} {
		got, err := ParseBalance(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
		if back, err := ParseBalance(got.String()); err != nil || back != got {
			t.Errorf("%q is written %q, which is read as %+v, %v", in, got, back, err)
		}
	}
	if s := (Balance{}).String(); s != "p2c" {
		t.Errorf("the zero value is written %q", s)
	}
	for in, want := range map[string]string{
		"random":                `"random" is unknown; there are p2c, round_robin, least_in_flight, hash and sticky`,
		"P2C":                   "there are p2c",
		"p2c fast":              "nothing follows p2c",
		"round_robin x":         "nothing follows round_robin",
		"hash":                  `write "hash header NAME" or "hash cookie NAME"`,
		"hash header":           `"hash header NAME"`,
		"hash ip":               `"hash header NAME"`,
		"hash query q":          `"hash header NAME"`,
		"hash header a b":       `"hash header NAME"`,
		"hash header X-Ténant":  `"hash header NAME"`,
		"sticky a=b":            "not the name of a cookie",
		"sticky one two":        "not the name of a cookie",
		"least_in_flight least": "nothing follows",
	} {
		if b, err := ParseBalance(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %s", in, b, err, want)
		}
	}
}

func FuzzParseBalance(f *testing.F) {
	for _, s := range []string{"", "p2c", "hash header X-Tenant", "hash cookie s", "sticky", "sticky a", "hash header", "hash  x  y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBalance(s)
		if err != nil {
			return
		}
		if back, err := ParseBalance(b.String()); err != nil || back != b {
			t.Fatalf("%q: %+v is written %q, which is read as %+v, %v", s, b, b, back, err)
		}
		if _, err := newBalancer(b); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func mustBalancer(t testing.TB, policy string) *balancer {
	t.Helper()
	parsed, err := ParseBalance(policy)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBalancer(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func loads(n int) []*load {
	out := make([]*load, n)
	for i := range out {
		out[i] = &load{key: fmt.Sprintf("http://10.0.0.%d:9000", i+1)}
	}
	return out
}

// backend is how a simulated endpoint answers.
type backend struct {
	latency time.Duration
	failing bool
}

// flight is a request that ends at its time.
type flight struct {
	end  time.Time
	to   int
	took time.Duration
}

// simulation sends requests at even intervals on a synthetic clock.
type simulation struct {
	b        *balancer
	all      []*load
	backends []backend
	now      time.Time
	open     []flight
}

func simulate(t *testing.T, policy string, backends ...backend) *simulation {
	t.Helper()
	return &simulation{b: mustBalancer(t, policy), all: loads(len(backends)), backends: backends, now: time.Unix(1e9, 0)}
}

// until ends what ends before then, in its order.
func (s *simulation) until(then time.Time) {
	for {
		first := -1
		for i, f := range s.open {
			if !f.end.After(then) && (first < 0 || f.end.Before(s.open[first].end)) {
				first = i
			}
		}
		if first < 0 {
			s.now = then
			return
		}
		f := s.open[first]
		s.open[first] = s.open[len(s.open)-1]
		s.open = s.open[:len(s.open)-1]
		s.all[f.to].observe(f.end, f.took, s.backends[f.to].failing)
		s.all[f.to].end()
	}
}

// run sends n requests and returns how many each endpoint got.
func (s *simulation) run(n int, interval time.Duration) []int {
	got := make([]int, len(s.all))
	for range n {
		l := s.b.pick(new(http.Request), s.all, s.now)
		for i := range s.all {
			if s.all[i] == l {
				got[i]++
				took := s.backends[i].latency
				s.open = append(s.open, flight{s.now.Add(took), i, took})
			}
		}
		l.begin()
		s.until(s.now.Add(interval))
	}
	return got
}

const ms = time.Millisecond

func TestEqualEndpointsGetEqualParts(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{"one at a time": 20 * ms, "thirty in flight": ms / 3} {
		same := backend{latency: 10 * ms}
		s := simulate(t, "p2c", same, same, same)
		for i, n := range s.run(10_000, interval) {
			if n < 10_000/3*8/10 || n > 10_000/3*12/10 {
				t.Errorf("%s: endpoint %d got %d of 10,000", name, i, n)
			}
		}
	}
}

func TestNoEndpointStarvesByNoise(t *testing.T) {
	t.Parallel()
	s := simulate(t, "p2c", backend{}, backend{}, backend{})
	got := make([]int, 3)
	for range 10_000 {
		for i := range s.backends {
			s.backends[i].latency = time.Duration(rand.ExpFloat64() * float64(10*ms))
		}
		for i, n := range s.run(1, 100*ms) {
			got[i] += n
		}
	}
	if least := slices.Min(got); least < 1000 {
		t.Errorf("endpoints alike got %v of 10,000 requests sent one at a time", got)
	}
}

func TestASlowEndpointGetsLess(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{"one at a time": 20 * ms, "thirty in flight": ms / 3} {
		s := simulate(t, "p2c", backend{latency: 10 * ms}, backend{latency: 10 * ms}, backend{latency: 100 * ms})
		got := s.run(10_000, interval)
		if got[2] == 0 || got[2] > 1000 {
			t.Errorf("%s: the slow endpoint got %d of 10,000", name, got[2])
		}
	}
}

func TestAnEndpointThatFailsFastAttractsNoTraffic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		latency, interval time.Duration
		most              float64
	}{
		"one at a time":         {10 * ms, 20 * ms, 0.01},
		"a few in flight":       {10 * ms, 2 * ms, 0.01},
		"hundreds in flight":    {10 * ms, ms / 20, 0.01},
		"slow and two a second": {time.Second, 500 * ms, 0.05},
	} {
		good := backend{latency: c.latency}
		s := simulate(t, "p2c", good, good, backend{latency: ms / 10, failing: true})
		got := s.run(10_000, c.interval)
		if part := float64(got[2]) / 10_000; part > c.most {
			t.Errorf("%s: the failing endpoint got %.1f %%", name, 100*part)
		}
	}
}

func TestTheOneThatIsWellIsFoundAmongMany(t *testing.T) {
	t.Parallel()
	bad := backend{latency: ms / 10, failing: true}
	s := simulate(t, "p2c", bad, bad, backend{latency: 10 * ms}, bad, bad)
	if got := s.run(5000, 2*ms); got[2] < 4750 {
		t.Errorf("of 5,000 requests %v", got)
	}
}

func TestAnEndpointThatBeginsToFailIsLeftSoonAndFoundAgain(t *testing.T) {
	t.Parallel()
	good := backend{latency: 10 * ms}
	s := simulate(t, "p2c", good, good, good)
	s.run(5000, ms)
	s.backends[2] = backend{latency: ms / 10, failing: true}
	if got := s.run(5000, ms); got[2] > 100 {
		t.Errorf("it got %d of 5,000 requests while it failed", got[2])
	} else if got[2] < 2 {
		t.Errorf("it was not probed: %d requests", got[2])
	}
	s.backends[2] = good
	s.run(60_000, ms)
	if got := s.run(3000, ms); got[2] < 800 {
		t.Errorf("it is well again and got %d of 3,000 a minute later", got[2])
	}
}

func TestOneFailureAmongManySuccessesChangesLittle(t *testing.T) {
	t.Parallel()
	good := backend{latency: 10 * ms}
	s := simulate(t, "p2c", good, good, good)
	s.run(3000, ms)
	s.all[1].observe(s.now, ms/10, true)
	if got := s.run(300, ms); got[1] < 60 {
		t.Errorf("it got %d of 300", got[1])
	}
}

func TestAHungEndpointGetsFewRequests(t *testing.T) {
	t.Parallel()
	good := backend{latency: 10 * ms}
	s := simulate(t, "p2c", good, good, backend{latency: time.Hour})
	if got := s.run(6000, 10*ms); got[2] > 20 {
		t.Errorf("it got %d of 6,000 in a minute", got[2])
	}
}

func TestRoundRobinTakesExactTurns(t *testing.T) {
	t.Parallel()
	b, all, now := mustBalancer(t, "round_robin"), loads(3), time.Now()
	got := map[*load]int{}
	for i := range 1000 {
		from := []*load{all[i%3], all[(i+1)%3], all[(i+2)%3]} // in whatever order
		got[b.pick(nil, from, now)]++
	}
	for _, l := range all {
		if n := got[l]; n < 333 || n > 334 {
			t.Errorf("%s got %d of 1,000", l.key, n)
		}
	}
	clear(got)
	for range 500 {
		got[b.pick(nil, all[:2], now)]++
	}
	for range 300 {
		got[b.pick(nil, all, now)]++
	}
	if n := got[all[2]]; n < 99 || n > 101 {
		t.Errorf("back after 500 turns without it, an endpoint got %d of 300", n)
	}
	if a, b := got[all[0]], got[all[1]]; a-b > 1 || b-a > 1 {
		t.Errorf("the two others got %d and %d", a, b)
	}
}

func TestLeastInFlightBreaksTiesByTurn(t *testing.T) {
	t.Parallel()
	b, all, now := mustBalancer(t, "least_in_flight"), loads(3), time.Now()
	all[0].begin()
	got := map[*load]int{}
	for range 100 {
		got[b.pick(nil, all, now)]++
	}
	if got[all[0]] != 0 || got[all[1]] != 50 || got[all[2]] != 50 {
		t.Errorf("of 100 the busy one got %d, the idle ones %d and %d", got[all[0]], got[all[1]], got[all[2]])
	}
	all[0].end()
	if l := b.pick(nil, all, now); l != all[0] || l.inFlightNow() != 0 {
		t.Errorf("after its request had ended it was the turn of %s", l.key)
	}
}

func TestASlowStartBeginsWithATenth(t *testing.T) {
	t.Parallel()
	l, now := &load{}, time.Unix(1e9, 0)
	if s := l.share(now, 10*time.Second); s != 1 {
		t.Errorf("without a slow start the share is %v", s)
	}
	l.observe(now, ms, true)
	l.startSlowly(now)
	for after, want := range map[time.Duration]float64{-1: 0.1, 0: 0.1, 5 * time.Second: 0.55, 10 * time.Second: 1, time.Hour: 1} {
		if s := l.share(now.Add(after), 10*time.Second); math.Abs(s-want) > 1e-9 {
			t.Errorf("after %v the share is %v, want %v", after, s, want)
		}
	}
	if s := l.share(now, -1); s != 1 {
		t.Errorf("with slow start off the share is %v", s)
	}
	if l.failureRate() != 0 || l.latency() != 0 {
		t.Error("a slow start remembers what was before")
	}
}

func TestASlowStartHoldsUnderEachPolicy(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"p2c", "round_robin", "least_in_flight"} {
		good := backend{latency: 10 * ms}
		s := simulate(t, policy, good, good, good)
		s.run(3000, ms)
		s.all[2].startSlowly(s.now)
		first := s.run(1000, ms)[2]
		s.run(8000, ms)
		s.run(1000, ms)
		full := s.run(3000, ms)[2]
		if first < 10 || first > 120 || full < 800 || full > 1200 {
			t.Errorf("%s: it got %d of the first 1,000, and %d of 3,000 when it was over", policy, first, full)
		}
	}
}

func TestWrongPoliciesAreRefused(t *testing.T) {
	t.Parallel()
	for _, b := range []Balance{{Policy: "fastest"}, {Policy: "hash"}, {Policy: "p2c", Source: "header X"}, {Source: "x"}, {Policy: "sticky", Source: "a;b"}} {
		if _, err := newBalancer(b); err == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
	if b, err := newBalancer(Balance{}); err != nil || b.policy != "p2c" || b.slow != 10*time.Second {
		t.Errorf("the zero value: %+v, %v", b, err)
	}
}

func TestPicksMayBeConcurrent(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"p2c", "round_robin", "least_in_flight", "hash header X", "sticky"} {
		b, all, now := mustBalancer(t, policy), loads(3), time.Now()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := header("X", fmt.Sprint(i))
				for j := range 300 {
					l := b.pick(r, all, now.Add(time.Duration(j)*ms))
					l.begin()
					b.stick(r, &http.Response{Header: http.Header{}}, l)
					l.observe(now.Add(time.Duration(j)*ms), ms, j%7 == 0)
					if j == 100 {
						l.startSlowly(now)
					}
					l.end()
					_, _ = l.latency(), l.failureRate()
				}
			})
		}
		wg.Wait()
		for _, l := range all {
			if n := l.inFlightNow(); n != 0 {
				t.Errorf("%s: %d in flight at %s", policy, n, l.key)
			}
		}
	}
}

// used returns n endpoints that have answered.
func used(n int, now time.Time) []*load {
	all := loads(n)
	for i, l := range all {
		l.observe(now, time.Duration(i+1)*ms, false)
	}
	return all
}

func TestAPickAllocatesNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts everybody's
	for _, policy := range []string{"p2c", "round_robin", "least_in_flight", "hash header X-Tenant"} {
		now := time.Now()
		b, all, r := mustBalancer(t, policy), used(3, now), header("X-Tenant", "t")
		b.pick(r, all, now)
		if n := testing.AllocsPerRun(200, func() { b.pick(r, all, now).observe(now, ms, false) }); n != 0 {
			t.Errorf("%s: %v allocations", policy, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []string{"p2c", "round_robin", "least_in_flight", "hash header X-Tenant", "sticky"} {
		for _, n := range []int{3, 100} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				now := time.Now()
				all, r := used(n, now), header("X-Tenant", "tenant-1234")
				bal := mustBalancer(b, policy)
				b.ReportAllocs()
				for b.Loop() {
					bal.pick(r, all, now)
				}
			})
		}
	}
}

// TestAColdConnectionSaysLittleOfItsEndpoint sends one request after the other to two
// equal ones, of which the first had to connect and the second was warmed up.
func TestAColdConnectionSaysLittleOfItsEndpoint(t *testing.T) {
	t.Parallel()
	b := mustBalancer(t, "p2c")
	for range 50 {
		all, now := loads(2), time.Now()
		all[0].observe(now, 5*time.Millisecond, false)
		all[1].observe(now, 500*time.Microsecond, false)
		first := 0
		for range 100 {
			now = now.Add(time.Millisecond)
			l := b.better(all, now)
			l.observe(now, 500*time.Microsecond, false)
			if l == all[0] {
				first++
			}
		}
		if first < 10 {
			t.Fatalf("%d of 100 went to the one that was cold", first)
		}
	}
}
