package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// staleIdle is how long the peers with an idle timer keep a connection.
const staleIdle = 50 * time.Millisecond

// staleRace is a way to close connections at the moment when they are used
// again, and when the next requests come: lanes at once, so that each has a
// connection that has been idle since the last round.
type staleRace struct {
	name          string
	learnable     bool // by an idle timer
	peer          func(*exchange)
	pause         func() time.Duration // between rounds
	lanes, rounds int
}

var staleRaces = []staleRace{
	{
		name: "idle timer", learnable: true, lanes: 40, rounds: 125,
		peer: func(x *exchange) {
			for {
				_ = x.SetReadDeadline(time.Now().Add(staleIdle))
				if _, ok := x.next(); !ok {
					return
				}
				linger(2 * time.Millisecond) // until each of the round has its connection
				x.answer()
			}
		},
		pause: func() time.Duration { // around the time at which it closes, and around that until which it is used
			around := []time.Duration{staleIdle, staleIdle, staleIdle * 4 / 5}[rand.IntN(3)]
			return around - 3*time.Millisecond + rand.N(4*time.Millisecond)
		},
	},
	{
		name: "right after an answer", lanes: 10, rounds: 150,
		peer: func(x *exchange) {
			for range 1 + rand.IntN(3) {
				if _, ok := x.next(); !ok {
					return
				}
				x.answer()
			}
			linger(rand.N(2 * time.Millisecond))
		},
		pause: func() time.Duration { return rand.N(2 * time.Millisecond) },
	},
	{
		name: "amid a burst", lanes: 10, rounds: 150,
		peer: func(x *exchange) {
			for range 1 + rand.IntN(10) {
				if _, ok := x.next(); !ok {
					return
				}
				x.answer()
			}
		},
		pause: func() time.Duration { return 0 },
	},
}

// postal sends small requests through one client, and keeps what failed.
type postal struct {
	rt   http.RoundTripper
	base string

	mu       sync.Mutex
	outcomes map[string]error // by path
	ended    map[string]time.Time
}

// send sends a request whose path is its id.
func (p *postal) send(t *testing.T, method, path, key string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	if method == http.MethodPost { // with GetBody, which the twin wants for its retries
		req, err = http.NewRequestWithContext(ctx, method, p.base+path, strings.NewReader(strings.Repeat("x", 300)))
		if err != nil {
			t.Error(err)
			return nil
		}
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := p.rt.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		err = errors.Join(err, res.Body.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcomes == nil {
		p.outcomes, p.ended = make(map[string]error), make(map[string]time.Time)
	}
	p.outcomes[path], p.ended[path] = err, time.Now()
	return err
}

// failed returns the requests that failed, and why.
func (p *postal) failed() map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := maps.Clone(p.outcomes)
	maps.DeleteFunc(failed, func(_ string, err error) bool { return err == nil })
	return failed
}

// stalls are when this machine let goroutines wait. A connection that the pool
// takes 12 ms before its peer's timer ends it is lost if either stands still for
// so long on the way, which is told but not held against the pool.
type stalls struct {
	mu   sync.Mutex
	ends []time.Time
}

// stall is how much later than asked for a goroutine wakes if the machine
// stalls.
const stall = 8 * time.Millisecond

func watchStalls(t *testing.T) *stalls {
	t.Helper()
	s := &stalls{}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := time.Now()
			if now.Sub(last) > stall {
				s.mu.Lock()
				s.ends = append(s.ends, now)
				s.mu.Unlock()
			}
			last = now
		}
	})
	t.Cleanup(func() {
		close(done)
		watch.Wait()
		t.Logf("the machine stalled %d times", len(s.ends))
	})
	return s
}

// innocent returns how many requests failed although the machine had not
// stalled while their connection was idle, nor while it was made so.
func (s *stalls) innocent(client *postal) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range client.failed() {
		end := client.ended[path]
		if !slices.ContainsFunc(s.ends, func(at time.Time) bool {
			return at.After(end.Add(-2*staleIdle)) && at.Before(end.Add(stall))
		}) {
			n++
		}
	}
	return n
}

// stalePool returns a client that is a pool over the peers. What they do to
// requests must not end the pool's trust in them.
func stalePool(t *testing.T, retry upstream.Retry, peers ...*stalePeer) (*upstream.Pool, *postal) {
	t.Helper()
	cfg := upstream.Config{Retry: retry, Outliers: upstream.Outliers{Off: true}}
	for _, p := range peers {
		cfg.Endpoints = append(cfg.Endpoints, "http://"+p.address)
	}
	pool, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, &postal{rt: pool, base: "http://pool"}
}

// misdeeds returns the requests that were executed twice, or answered without.
func (p *postal) misdeeds(ledger map[string]int) (texts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, err := range p.outcomes {
		if n := ledger[path]; n > 1 || n == 0 && err == nil {
			texts = append(texts, fmt.Sprintf("%s was executed %d times; the client was told: %v", path, n, err))
		}
	}
	return texts
}

// whyUnproven says why a failed request could not be sent again.
func whyUnproven(err error, read int, proof bool) string {
	switch {
	case read > 0:
		return "the backend had read it"
	case errors.Is(err, syscall.ECONNRESET):
		return "a reset without a FIN: the backend's kernel had received it, and its process may have read it"
	case !proof:
		return "KernelProof is off: nobody asked the kernel whether it had arrived"
	}
	return "the FIN may have acknowledged it, or no reset followed in time"
}

func TestAPeerThatClosesAtTheMomentOfReuseGetsNothingTwiceAndLearnedIdleLosesNothing(t *testing.T) {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	var learned, lost atomic.Int64 // POSTs with a learned idle time, and of these
	stalls := watchStalls(t)
	for _, race := range staleRaces {
		t.Run(race.name, func(t *testing.T) {
			var clients sync.WaitGroup
			var turn sync.Mutex // the rounds of one must not delay another's
			for _, name := range []string{"pool", "pool with KernelProof", "twin (http.Transport)"} {
				peer := newStalePeer(t, race.peer)
				client := &postal{rt: transport, base: "http://" + peer.address}
				var pool *upstream.Pool
				if strings.HasPrefix(name, "pool") {
					pool, client = stalePool(t, upstream.Retry{KernelProof: name != "pool"}, peer)
				}
				clients.Go(func() {
					if race.learnable && pool != nil {
						learn(t, pool, client)
						client = &postal{rt: client.rt, base: client.base}
					}
					race.run(t, client, &turn)
					race.report(t, name, client, pool, peer)
					if race.learnable && pool != nil {
						learned.Add(int64(len(client.outcomes)))
						lost.Add(int64(stalls.innocent(client)))
					}
				})
			}
			clients.Wait()
		})
	}
	// At most one in 10,000, of 10,000.
	if n, failed := learned.Load(), lost.Load(); failed*10_000 > n {
		t.Errorf("with learned idle times, %d of %d POSTs failed while the machine did not stall", failed, n)
	}
}

func TestAnImpatientPeerIsNotDialedWithoutEndToHaveConnectionsReady(t *testing.T) {
	peer := newStalePeer(t, func(x *exchange) {
		_ = x.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			if _, ok := x.next(); !ok {
				return
			}
			x.answer()
			_ = x.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		}
	})
	pool, err := upstream.New(upstream.Config{
		Endpoints: []string{"http://" + peer.address}, Connections: upstream.Connections{MinIdle: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	learn(t, pool, &postal{rt: pool, base: "http://pool"})
	before := pool.Snapshot().Dials["ok"]
	linger(500 * time.Millisecond)
	if n := pool.Snapshot().Dials["ok"] - before; n > 10 {
		t.Errorf("%d connections in half a second in which nobody asked", n)
	}
}

// learn lets the peer close a connection, so that the pool knows when it does.
func learn(t *testing.T, pool *upstream.Pool, client *postal) {
	t.Helper()
	for pool.Snapshot().Endpoints[0].LearnedIdle == 0 {
		if err := client.send(t, http.MethodGet, "/learn", ""); err != nil {
			t.Error(err)
			return
		}
		linger(2 * staleIdle)
	}
}

func (r *staleRace) run(t *testing.T, client *postal, turn *sync.Mutex) {
	t.Helper()
	for round := range r.rounds {
		turn.Lock()
		var lanes sync.WaitGroup
		for lane := range r.lanes {
			lanes.Go(func() { _ = client.send(t, http.MethodPost, fmt.Sprintf("/%d/%d", round, lane), "") })
		}
		lanes.Wait()
		turn.Unlock()
		linger(r.pause())
	}
}

// report logs what became of a client's requests, and fails a pool of which
// one was executed twice.
func (r *staleRace) report(t *testing.T, name string, client *postal, pool *upstream.Pool, peer *stalePeer) {
	t.Helper()
	ledger := peer.ledger()
	reasons, misdeeds, failed := make(map[string]int), client.misdeeds(ledger), client.failed()
	for path, err := range failed {
		why := whyUnproven(err, ledger[path], name != "pool")
		reasons[why]++
		if pool != nil && r.learnable {
			t.Logf("%s: POST %s failed: %s: %v", name, path, why, err)
		}
	}
	line := fmt.Sprintf("%s, %s: %d POSTs, %.0f failures per 10,000, executed twice %d",
		r.name, name, len(client.outcomes), float64(len(failed))*10_000/float64(len(client.outcomes)), len(misdeeds))
	if pool == nil {
		t.Log(line)
		return
	}
	s := pool.Snapshot()
	t.Logf("%s; sent again %v; connections %d; learned idle %.1f ms; why not sent again %v",
		line, s.Retries, s.Dials["ok"], s.Endpoints[0].LearnedIdle*1000, reasons)
	for _, text := range misdeeds {
		t.Errorf("%s: %s", name, text)
	}
}
