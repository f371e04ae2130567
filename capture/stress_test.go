package capture_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
)

// TestNothingIsLeftOfManyCalls lets clients come, leave, come back, repeat and
// cancel at random while upstreams answer, stall, end and break, within bounds
// that are always exceeded. Every event that anybody reads is one in order, and
// in the end nothing is held.
func TestNothingIsLeftOfManyCalls(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func storm(t *testing.T, rnd *rand.Rand) {
	var mu sync.Mutex
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	sleep := func(n int) { time.Sleep(time.Duration(random(n)) * 10 * time.Millisecond) }
	f := newFixture(t, capture.Config{OnDisconnect: capture.Linger(300 * time.Millisecond), CommitAfter: 200 * time.Millisecond, Heartbeat: 100 * time.Millisecond},
		capture.StoreConfig{StreamBytes: 8 << 10, TotalBytes: 40 << 10, Keep: 2 * time.Second, Streams: 12, Patience: 100 * time.Millisecond})
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() { // the upstreams
		for {
			select {
			case c := <-f.up.came:
				all.Go(func() {
					for i := range random(60) {
						if random(4) == 0 {
							sleep(20)
						}
						if _, err := fmt.Fprintf(c, "data: %d %s\n\n", i, strings.Repeat("x", random(300))); err != nil {
							return
						}
					}
					if random(3) == 0 {
						c.CloseWithError(errBroken)
					}
					c.Close()
				})
			case <-stop:
				return
			}
		}
	})
	var clients sync.WaitGroup
	for client := range 20 {
		clients.Go(func() {
			for range 15 {
				sleep(30)
				ctx, leave := context.WithTimeout(t.Context(), time.Duration(1+random(100))*10*time.Millisecond)
				key := fmt.Sprint("key ", random(10))
				r := request(ctx, "GET", target, "", "Accept", "text/event-stream")
				if client%4 > 0 {
					r.Header.Set("Idempotency-Key", key)
				}
				resp, err := f.rt.RoundTrip(r)
				if err != nil {
					leave()
					continue
				}
				body := resp.Body
				if random(3) == 0 {
					buf := make([]byte, random(5000))
					n, _ := io.ReadFull(body, buf)
					inOrder(t, string(buf[:n]))
				} else {
					got, _ := readAll(body)
					inOrder(t, got)
				}
				if random(8) == 0 {
					f.own("DELETE", capture.Prefix+"?key="+strings.ReplaceAll(key, " ", "+"))
				}
				body.Close()
				if path := resp.Header.Get("Content-Location"); path != "" && random(2) == 0 {
					w := httptest.NewRecorder()
					f.store.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", path, nil))
					inOrder(t, w.Body.String())
				}
				leave()
				if s := f.store.Stats(); s.Live+s.Finished > 24 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
	clients.Wait()
	if err := f.store.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	time.Sleep(3 * time.Second)
	f.store.Sweep()
	s := f.store.Stats()
	if s.Calls != 0 || s.Live != 0 || s.Finished != 0 || s.Bytes != 0 || s.Captured != s.Ended+s.Faulted+s.Cancelled || s.Captured != s.Evicted {
		t.Errorf("left: %+v", s)
	}
	close(stop)
	all.Wait()
}

// inOrder fails when an event is missing without a gap, or comes twice.
func inOrder(t *testing.T, stream string) {
	data, _ := events(stream)
	want := 0
	for _, d := range data {
		if d == "fairlead.gap" {
			want = -1
			continue
		}
		if strings.HasPrefix(d, "fairlead.") {
			continue
		}
		var got int
		fmt.Sscan(d, &got)
		if want >= 0 && got != want {
			t.Errorf("event %d where %d was due", got, want)
		}
		want = got + 1
	}
}
