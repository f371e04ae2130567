package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

const h2 = "h2c://a:80"

func pause(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(d)
		_, _ = w.Write([]byte("ok"))
	}
}

func TestABurstIsNotRefusedByAPeerOfTwoStreamsWhoseSettingsComeLate(t *testing.T) {
	for _, late := range []time.Duration{0, 30 * time.Millisecond, 400 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newSwitchboard()
			served := b.serve(t, "a:80", 2, pause(10*time.Millisecond))
			b.plug("a:80", later(func(ctx context.Context) (net.Conn, error) { return served.Dial(ctx, "", "") }, late))
			p := b.pool(t, upstream.Config{Endpoints: []string{h2}, Connections: upstream.Connections{Max: 16}})
			_, errs := burst(t, p, 400, http.MethodPost)
			noErrors(t, errs)
			if s := p.Snapshot(); s.Retries["refused_stream"] != 0 || s.Attempts != 400 {
				t.Errorf("settings %s late: %d attempts, retries %v", late, s.Attempts, s.Retries)
			}
			if b.most > 16 {
				t.Errorf("%d connections at once", b.most)
			}
		})
	}
}

func TestABurstTakesFewConnectionsToAPeerOfManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.serve(t, "a:80", 250, pause(10*time.Millisecond))
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		_, errs := burst(t, p, 400, http.MethodGet)
		noErrors(t, errs)
		t.Logf("%d connections for 400 requests at once", b.dialed("a:80"))
		if n := b.dialed("a:80"); n > 6 {
			t.Errorf("%d connections", n)
		}
	})
}

// hold keeps n more requests under way, and waits until they are.
func hold(t *testing.T, p *upstream.Pool, g *gate, all *sync.WaitGroup, n int) {
	t.Helper()
	for range n {
		all.Go(func() {
			if _, err := ask(t, p, http.MethodGet, "", "Hold", "yes"); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Wait()
}

func TestTheNextConnectionIsOpenedBeforeOneIsFullAndTheEmptierIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := newSwitchboard(), newGate()
		b.serve(t, "a:80", 10, g)
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		var all sync.WaitGroup
		if _, err := ask(t, p, http.MethodGet, ""); err != nil {
			t.Fatal(err)
		}
		check := func(want ...int) {
			t.Helper()
			var got []int
			for _, c := range p.Connections(10) {
				got = append(got, c.InFlight)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("requests on the connections: %v, want %v", got, want)
			}
		}
		hold(t, p, g, &all, 7)
		check(7)
		hold(t, p, g, &all, 1)
		check(8, 0)
		if _, err := ask(t, p, http.MethodGet, ""); err != nil { // which shows what the new one carries
			t.Fatal(err)
		}
		hold(t, p, g, &all, 5)
		check(8, 5)
		g.open()
		all.Wait()
		if why := happened(p, "opened")[1].Why; !strings.Contains(why, "four fifths") {
			t.Errorf("the second was opened since %q", why)
		}
	})
}

func TestGoAwayMidBurstSendsWhatWasNotActedOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.frames(t, "a:80", func(n int, f *framePeer) {
			f.settings(50)
			if n > 0 {
				serveFrames(f)
				return
			}
			f.answer(f.next(headersFrame).stream, "warm")
			for range 6 {
				f.next(headersFrame)
			}
			f.goAway(7)
			time.Sleep(200 * time.Millisecond)
			for _, stream := range []uint32{3, 5, 7} {
				f.answer(stream, "late")
			}
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		if _, err := ask(t, p, http.MethodGet, ""); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		texts := make(chan string, 6)
		for range 6 {
			all.Go(func() {
				text, err := ask(t, p, http.MethodPost, "body")
				if err != nil {
					t.Error(err)
				}
				texts <- text
			})
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if text, err := ask(t, p, http.MethodPost, "new"); text != "ok" || err != nil {
			t.Errorf("a new request after GOAWAY: %q, %v", text, err)
		}
		if e, _ := state(p, h2); e.Draining != 1 || e.InFlight != 3 {
			t.Errorf("while three finish: %+v", e)
		}
		all.Wait()
		count := map[string]int{}
		for range 6 {
			count[<-texts]++
		}
		synctest.Wait()
		s := p.Snapshot()
		if count["late"] != 3 || count["ok"] != 3 || s.Retries["refused_stream"] != 3 || s.Closes["goaway"] != 1 || s.Closes["error"] != 0 {
			t.Errorf("%v; retries %v, closes %v", count, s.Retries, s.Closes)
		}
	})
}

func TestGoAwayOnAnIdleConnectionCostsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.frames(t, "a:80", func(n int, f *framePeer) {
			f.settings(50)
			f.answer(f.next(headersFrame).stream, fmt.Sprint("conn ", n))
			f.goAway(1)
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		for n := range 3 {
			text, err := ask(t, p, http.MethodPost, "body")
			if err != nil || text != fmt.Sprint("conn ", n) {
				t.Errorf("request %d: %q, %v", n, text, err)
			}
			time.Sleep(time.Second)
		}
		if s := p.Snapshot(); s.Attempts != 3 || s.Closes["goaway"] < 2 {
			t.Errorf("%d attempts, closes %v", s.Attempts, s.Closes)
		}
	})
}

func TestARefusedStreamIsSentAgainWithItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		var bodies []string
		b.frames(t, "a:80", func(_ int, f *framePeer) {
			f.settings(50)
			for i := 0; ; i++ {
				d := f.next(dataFrame)
				if d.stream == 0 {
					return
				}
				bodies = append(bodies, string(d.payload))
				if i == 0 {
					f.reset(d.stream, refusedStream)
				} else {
					f.answer(d.stream, "done")
				}
			}
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		if text, err := ask(t, p, http.MethodPost, "the body"); text != "done" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		s := p.Snapshot()
		if fmt.Sprint(bodies) != "[the body the body]" || s.Retries["refused_stream"] != 1 {
			t.Errorf("bodies %q, retries %v", bodies, s.Retries)
		}
	})
}

// A response that is malformed breaks its stream alone (RFC 9113 §8.1.1).
func TestAStatusOfHTTP2ThatIsNoneIsAFailureOfItsEndpointAndNotOfItsOtherStreams(t *testing.T) {
	for _, status := range []string{"+50", "99", "1000", "-5"} {
		synctest.Test(t, func(t *testing.T) {
			b := newSwitchboard()
			b.frames(t, "a:80", func(_ int, f *framePeer) {
				f.settings(50)
				f.answer(f.next(headersFrame).stream, "known")
				held := f.next(headersFrame).stream
				literal := append([]byte{0x08, byte(len(status))}, status...) // of field 8 of RFC 7541's table
				f.write(headersFrame, endStream|endHeaders, f.next(headersFrame).stream, literal)
				f.answer(held, "held")
			})
			p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
			if text, err := ask(t, p, http.MethodGet, ""); text != "known" || err != nil {
				t.Errorf("%s: %q, %v", status, text, err)
			}
			var all sync.WaitGroup
			all.Go(func() {
				if text, err := ask(t, p, http.MethodGet, ""); text != "held" || err != nil {
					t.Errorf("%s: %q, %v", status, text, err)
				}
			})
			synctest.Wait()
			if text, err := ask(t, p, http.MethodPost, ""); err == nil { // which is not sent again
				t.Errorf("%s is the status of %q", status, text)
			}
			all.Wait()
			if e, _ := state(p, h2); e.Failures != 1 || b.dialed("a:80") != 1 {
				t.Errorf("%s: %d dials, %+v", status, b.dialed("a:80"), e)
			}
		})
	}
}

func TestAPeerThatAllowsNoStreamIsNotDialedWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.frames(t, "a:80", func(_ int, f *framePeer) { f.settings(0) })
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}, Retry: upstream.Retry{ResponseTimeout: 4 * time.Second}})
		started := time.Now()
		_, errs := burst(t, p, 100, http.MethodPost)
		for _, err := range errs {
			if err == nil {
				t.Fatal("a request was answered")
			}
		}
		took := time.Since(started)
		t.Logf("%d dials in %s: %v", b.dialed("a:80"), took, errs[0])
		if n := b.dialed("a:80"); n > 20 || took > 10*time.Second {
			t.Errorf("%d dials in %s", n, took)
		}
	})
}

func TestAHalfOpenConnectionIsFoundByPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.frames(t, "a:80", func(n int, f *framePeer) {
			f.settings(50)
			if n > 0 {
				serveFrames(f)
				return
			}
			f.answer(f.next(headersFrame).stream, "warm")
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		if _, err := ask(t, p, http.MethodGet, ""); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			if text, err := ask(t, p, http.MethodGet, ""); text != "ok" || err != nil {
				t.Errorf("GET: %q, %v", text, err)
			}
		})
		all.Go(func() {
			if text, err := ask(t, p, http.MethodPost, "x"); err == nil {
				t.Errorf("POST: %q", text)
			}
		})
		all.Wait()
		if took := time.Since(started); took < 374*time.Second || took > 377*time.Second { // TCP, which is not here, is sooner
			t.Errorf("it was found after %s", took)
		}
		if s := p.Snapshot(); s.Retries["idempotent"] != 1 || s.Closes["error"] != 1 {
			t.Errorf("retries %v, closes %v", s.Retries, s.Closes)
		}
	})
}

func TestTheAgeOfAConnectionCutsNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.serve(t, "a:80", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Long") == "" {
				_, _ = w.Write([]byte("short"))
				return
			}
			for i := range 60 {
				_, _ = fmt.Fprintf(w, "%d,", i)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		}))
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}, Connections: upstream.Connections{MaxAge: 20 * time.Second}})
		long, err := begin(t, p, http.MethodGet, "", "Long", "yes")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if text, err := ask(t, p, http.MethodPost, ""); text != "short" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		if e, _ := state(p, h2); e.Draining != 1 || b.dialed("a:80") != 2 {
			t.Errorf("%d dials, %+v", b.dialed("a:80"), e)
		}
		all, err := io.ReadAll(long.Body)
		long.Body.Close()
		if err != nil || strings.Count(string(all), ",") != 60 {
			t.Errorf("the long response: %q, %v", all, err)
		}
		synctest.Wait()
		if s := p.Snapshot(); s.Closes["age"] == 0 || s.Closes["error"] != 0 {
			t.Errorf("closes %v", s.Closes)
		}
	})
}

func TestASlowFirstResponseDoesNotHoldUpTheOthers(t *testing.T) {
	for _, streams := range []int{100, 250} { // 100 is what net/http assumes before it knows
		synctest.Test(t, func(t *testing.T) {
			b := newSwitchboard()
			b.serve(t, "a:80", streams, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Slow") != "" {
					time.Sleep(time.Minute)
				}
				_, _ = w.Write([]byte("ok"))
			}))
			p := b.pool(t, upstream.Config{Endpoints: []string{h2}, Connections: upstream.Connections{Max: 1}})
			var slow sync.WaitGroup
			slow.Go(func() {
				if _, err := ask(t, p, http.MethodGet, "", "Slow", "yes"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			started := time.Now()
			_, errs := burst(t, p, 50, http.MethodGet)
			noErrors(t, errs)
			if took := time.Since(started); took > 200*time.Millisecond {
				t.Errorf("with %d streams the others waited for %s", streams, took)
			}
			slow.Wait()
		})
	}
}

func TestAConnectionThatIsTooOldGivesItsPlaceUpWhileItsStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := newSwitchboard(), newGate()
		b.serve(t, "a:80", 0, g)
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}, Connections: upstream.Connections{Max: 1, MaxAge: 10 * time.Second}})
		var all sync.WaitGroup
		hold(t, p, g, &all, 1)
		time.Sleep(12 * time.Second)
		started := time.Now()
		if text, err := ask(t, p, http.MethodPost, "x"); text != "ok" || err != nil || time.Since(started) > 0 {
			t.Errorf("%q, %v after %s", text, err, time.Since(started))
		}
		if e, _ := state(p, h2); e.Draining != 1 || e.InFlight != 1 {
			t.Errorf("%+v", e)
		}
		g.open()
		all.Wait()
		synctest.Wait()
		if s := p.Snapshot(); s.Closes["age"] != 1 {
			t.Errorf("closes %v", s.Closes)
		}
	})
}

func TestTheReasonIsGoAwayHoweverCloseItComesToTheLastResponse(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(f *framePeer, stream uint32)
	}{
		{"before it", func(f *framePeer, stream uint32) { f.goAway(stream); f.answer(stream, "ok") }},
		{"a while before it", func(f *framePeer, stream uint32) { f.goAway(stream); time.Sleep(time.Second); f.answer(stream, "ok") }},
		{"twice", func(f *framePeer, stream uint32) { f.goAway(1<<31 - 1); f.goAway(stream); f.answer(stream, "ok") }},
		{"after it", func(f *framePeer, stream uint32) { f.answer(stream, "ok"); f.goAway(stream) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newSwitchboard()
			b.frames(t, "a:80", func(_ int, f *framePeer) {
				f.settings(50)
				c.play(f, f.next(headersFrame).stream)
			})
			p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
			for range 20 {
				if text, err := ask(t, p, http.MethodPost, "x"); text != "ok" || err != nil {
					t.Fatalf("%s: %q, %v", c.name, text, err)
				}
				synctest.Wait()
			}
			s := p.Snapshot()
			if n := s.Closes["goaway"]; n < 19 || s.Closes["error"]+s.Closes["idle_peer"]+s.Closes["response"] != 0 {
				t.Errorf("%s: closes %v", c.name, s.Closes)
			}
		})
	}
}

func TestWhatALeavingPeerHadNotActedOnDoesNotCountAgainstIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.frames(t, "a:80", func(n int, f *framePeer) {
			f.settings(50)
			if n > 0 {
				serveFrames(f)
				return
			}
			f.next(headersFrame)
			f.goAway(0)
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{h2}})
		if text, err := ask(t, p, http.MethodPost, "x"); text != "ok" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		synctest.Wait()
		if e, _ := state(p, h2); e.Failures != 0 || p.Snapshot().Closes["goaway"] != 1 {
			t.Errorf("%+v, closes %v", e, p.Snapshot().Closes)
		}
	})
}
