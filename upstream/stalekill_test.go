package upstream_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestAPostThatWasReadBeforeAResetIsNotSentAgainAndAGetIs(t *testing.T) {
	for _, proof := range []bool{false, true} {
		peer := newStalePeer(t, func(x *exchange) {
			for {
				times, ok := x.next()
				if !ok {
					return
				}
				if x.method == http.MethodPost || times == 1 && !strings.HasPrefix(x.id, "/before") {
					x.reset()
					return
				}
				x.answer()
			}
		})
		pool, client := stalePool(t, upstream.Retry{KernelProof: proof, Budget: 1}, peer)
		const requests = 50
		for i := range requests {
			if i%2 == 0 { // the others go on a new connection
				_ = client.send(t, http.MethodGet, fmt.Sprintf("/before/%d", i), "")
			}
			if err := client.send(t, http.MethodPost, fmt.Sprintf("/post/%d", i), ""); err == nil {
				t.Errorf("POST %d was answered", i)
			}
			if err := client.send(t, http.MethodGet, fmt.Sprintf("/get/%d", i), ""); err != nil {
				t.Errorf("GET %d: %v", i, err)
			}
		}
		if closes := pool.Snapshot().Closes; closes["stale"] == 0 || closes["error"] == 0 {
			t.Errorf("connections that were used again, and new ones, broke under a request: closes are %v", closes)
		}
		ledger := peer.ledger()
		for i := range requests {
			if n := ledger[fmt.Sprintf("/post/%d", i)]; n != 1 {
				t.Errorf("KernelProof %v: POST %d was read %d times", proof, i, n)
			}
			if n := ledger[fmt.Sprintf("/get/%d", i)]; n != 2 {
				t.Errorf("KernelProof %v: GET %d was read %d times", proof, i, n)
			}
		}
	}
}

func TestAPostWithAnIdempotencyKeyIsSentAgainAfterItWasRead(t *testing.T) {
	peer := newStalePeer(t, func(x *exchange) {
		for {
			times, ok := x.next()
			switch {
			case !ok:
				return
			case times == 1:
				x.reset()
				return
			}
			x.answer()
		}
	})
	pool, client := stalePool(t, upstream.Retry{}, peer)
	const requests = 30 // what the budget of a new pool allows
	for i := range requests {
		path := fmt.Sprintf("/%d", i)
		if err := client.send(t, http.MethodPost, path, "key"+path); err != nil {
			t.Errorf("POST %d: %v", i, err)
		}
		if n := peer.ledger()[path]; n != 2 {
			t.Errorf("POST %d was read %d times", i, n)
		}
	}
	if n := pool.Snapshot().Retries["key"]; n != requests {
		t.Errorf("%d were sent again because of their key", n)
	}
}

// aborts are ends of a connection on purpose, when or about when a request
// comes. What a process reads there it executes.
var aborts = []struct {
	name string
	end  func(*exchange)
}{
	{"reads half, then resets", func(x *exchange) {
		_, _ = io.ReadFull(x, make([]byte, 200))
		x.reset()
	}},
	{"reads half, then closes", func(x *exchange) {
		_, _ = io.ReadFull(x, make([]byte, 200))
	}},
	{"resets", func(x *exchange) {
		linger(rand.N(time.Millisecond))
		x.reset()
	}},
	{"closes", func(*exchange) { linger(rand.N(time.Millisecond)) }},
	{"ends its side when the request is there, reads it, then resets", func(x *exchange) {
		_, _ = x.r.Peek(1)
		_ = x.CloseWrite()
		_, _ = x.next()
		x.reset()
	}},
	{"reads it, ends its side, then resets", func(x *exchange) {
		_, _ = x.next()
		_ = x.CloseWrite()
		x.reset()
	}},
	{"ends its side, reads what comes, then resets", func(x *exchange) {
		linger(rand.N(time.Millisecond))
		_ = x.CloseWrite()
		_, _ = x.next()
		x.reset()
	}},
}

func TestAPeerThatAbortsOnPurposeGetsNothingTwice(t *testing.T) {
	for _, abort := range aborts {
		t.Run(abort.name, func(t *testing.T) {
			peer := newStalePeer(t, func(x *exchange) {
				if _, ok := x.next(); ok { // the first of a connection is answered
					x.answer()
					_ = x.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
					abort.end(x)
				}
			})
			pool, client := stalePool(t, upstream.Retry{KernelProof: true, Budget: 1}, peer)
			for i := range 200 {
				_ = client.send(t, http.MethodGet, fmt.Sprintf("/before/%d", i), "")
				linger(rand.N(time.Millisecond))
				_ = client.send(t, http.MethodPost, fmt.Sprintf("/%d", i), "")
			}
			ledger := peer.ledger()
			for path, n := range ledger {
				if n > 1 && !strings.HasPrefix(path, "/before") {
					t.Errorf("%s was read %d times", path, n)
				}
			}
			t.Logf("%d requests, %d failed; sent again %v", len(client.outcomes), len(client.failed()), pool.Snapshot().Retries)
		})
	}
}

// flight is a POST that failed, and the deaths of the endpoint that dies: how
// many there had been when it began, and how many had begun when it failed.
type flight struct {
	path         string
	err          error
	before, when int64
}

func TestOfThreeEndpointsOneDiesAndComesBackAndNothingElseIsLost(t *testing.T) {
	alive := func(x *exchange) {
		for {
			if _, ok := x.next(); !ok {
				return
			}
			linger(rand.N(4 * time.Millisecond))
			x.answer()
		}
	}
	peers := []*stalePeer{newStalePeer(t, alive), newStalePeer(t, alive), newStalePeer(t, alive)}
	pool, client := stalePool(t, upstream.Retry{KernelProof: true}, peers...)
	mortal := peers[0]
	var begun, over atomic.Int64 // deaths
	var posts sync.Map
	var sent atomic.Int64
	stop := make(chan struct{})
	var lanes sync.WaitGroup
	for lane := range 200 {
		lanes.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprintf("/get/%d/%d", lane, i)
				if err := client.send(t, http.MethodGet, path, ""); err != nil {
					t.Errorf("GET %s: %v", path, err)
				}
				path = fmt.Sprintf("/post/%d/%d", lane, i)
				before := over.Load()
				if err := client.send(t, http.MethodPost, path, ""); err != nil {
					posts.Store(path, flight{path, err, before, begun.Load()})
				}
				sent.Add(2)
			}
		})
	}
	after := func(n int64) {
		for limit := sent.Load() + n; sent.Load() < limit; {
			linger(time.Millisecond)
		}
	}
	const deaths = 3
	for range deaths {
		after(1000)
		begun.Add(1)
		mortal.kill()
		over.Add(1)
		after(1000)
		mortal.start(t)
		had, patience := len(mortal.ledger()), sent.Load()+20_000
		for len(mortal.ledger()) == had {
			if sent.Load() > patience {
				t.Error("the endpoint came back, and is not used")
				break
			}
			linger(time.Millisecond)
		}
	}
	after(1000)
	close(stop)
	lanes.Wait()
	total := make(map[string]int)
	for _, p := range peers {
		for path, n := range p.ledger() {
			total[path] += n
		}
	}
	lost := 0
	posts.Range(func(_, v any) bool {
		f := v.(flight)
		lost++
		if f.when == f.before || !strings.Contains(f.err.Error(), mortal.address) {
			t.Errorf("POST %s failed, and was not in flight to what died: %v", f.path, f.err)
		}
		return true
	})
	for _, text := range client.misdeeds(total) {
		if strings.HasPrefix(text, "/post") {
			t.Error(text)
		}
	}
	s := pool.Snapshot()
	t.Logf("%d requests of 200 lanes, %d deaths of one endpoint of three: 0 GETs failed, %d POSTs did, in flight there; sent again %v; dials %v",
		len(client.outcomes), deaths, lost, s.Retries, s.Dials)
}
