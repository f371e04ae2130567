package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/upstream"
)

// slowly is a dial that takes d.
func slowly(d time.Duration) func(context.Context) error {
	return func(context.Context) error { time.Sleep(d); return nil }
}

// blackHole is a dial that nobody answers.
func blackHole(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// refusing is a dial that is refused after d.
func refusing(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		time.Sleep(d)
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
}

func TestABurstIsDialedForFourAtATime(t *testing.T) {
	o := &origin{before: slowly(10 * time.Millisecond)}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		began := time.Now()
		var lanes sync.WaitGroup
		for range 100 {
			lanes.Go(func() { s.get("1s") })
		}
		lanes.Wait()
		if took := time.Since(began); took != 1250*time.Millisecond {
			t.Errorf("a hundred took %v", took)
		}
		if n := len(o.dials()); n != 100 || o.most != 4 {
			t.Errorf("%d dials, %d of them at once", n, o.most)
		}
	}, o)
}

func TestADialOutlivesItsRequest(t *testing.T) {
	o := &origin{before: slowly(time.Second)}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.try(ctx, ""); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		sleep(900 * time.Millisecond)
		if e := s.endpoint(0); e.Idle != 1 {
			t.Errorf("%+v", e)
		}
		if conn := s.get(""); conn != "0" || time.Since(began) != time.Second {
			t.Errorf("connection %s after %v", conn, time.Since(began))
		}
	}, o)
}

func TestTheFailureOfTheOnlyDialIsToldToAllWhoWaitForIt(t *testing.T) {
	o := &origin{before: refusing(100 * time.Millisecond)}
	inBubble(t, upstream.Config{Connections: one}, func(t *testing.T, s *sim) {
		began := time.Now()
		var lanes sync.WaitGroup
		for range 5 {
			lanes.Go(func() {
				if _, err := s.try(t.Context(), ""); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) != 100*time.Millisecond {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		}
		lanes.Wait()
		if n := len(o.dials()); n != 1 {
			t.Errorf("%d dials", n)
		}
		if n := s.Snapshot().Dials["refused"]; n != 1 {
			t.Errorf("%d counted", n)
		}
		s.saw("dial_failed", "refused: no connection: dial tcp: connection refused")
	}, o)
}

func TestAConnectionThatOnlyShowsWhenThePeerClosesItIsNoReasonToWait(t *testing.T) {
	var down atomic.Bool
	o := &origin{}
	o.before = func(ctx context.Context) error {
		if !down.Load() {
			return nil
		}
		return refusing(0)(ctx)
	}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		s.get("")
		sleep(5 * time.Second)
		down.Store(true)
		began := time.Now()
		if _, err := s.try(t.Context(), ""); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	}, o)
}

func TestDialsThatFailPauseLongerAndLongerWhileSomebodyHopesForABusyConnection(t *testing.T) {
	o := &origin{}
	o.before = func(ctx context.Context) error {
		if len(o.dials()) == 1 {
			return nil
		}
		return refusing(0)(ctx)
	}
	cfg := upstream.Config{Outliers: upstream.Outliers{Off: true}, Queue: upstream.Queue{Timeout: time.Minute}}
	inBubble(t, cfg, func(t *testing.T, s *sim) {
		began := time.Now()
		var lanes sync.WaitGroup
		lanes.Go(func() { s.get("20s") })
		synctest.Wait()
		for range 5 {
			lanes.Go(func() { s.get("") })
		}
		lanes.Wait()
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("those who waited were answered after %v", took)
		}
		dials := o.dials()
		// Four at once before the first failure is known, of which some may
		// count as one; from then on one at a time.
		for i, at := range dials[5:] {
			least, most := min(time.Second, 50*time.Millisecond<<i)/2, min(time.Second, 50*time.Millisecond<<(3+i))*3/2
			if gap := at.Sub(dials[4+i]); gap < least || gap >= most {
				t.Errorf("pause %d is %v, want %v to %v", i, gap, least, most)
			}
		}
		if n := len(dials); n < 5+10 || n > 5+40 || o.most > 4 {
			t.Errorf("%d dials in 20 s, %d at once", n, o.most)
		}
	}, o)
}

func TestAnEndpointThatClosesWhatItAcceptsIsNotDialedWithoutPause(t *testing.T) {
	o := &origin{serve: func(*peer) {}}
	inBubble(t, upstream.Config{Outliers: upstream.Outliers{Off: true}}, func(t *testing.T, s *sim) {
		began := time.Now()
		tries := 0
		for ; time.Since(began) < 10*time.Second; tries++ {
			if _, err := s.try(t.Context(), ""); err == nil {
				t.Error("no error")
			}
			time.Sleep(10 * time.Millisecond)
		}
		// Three attempts at each, and while one waits a dial every 25 ms at most.
		if n := len(o.dials()); n > 3*tries+400 {
			t.Errorf("%d dials for %d requests in 10 s", n, tries)
		}
	}, o)
}

func TestABlackHoleCostsARequestItsShareOfTheTime(t *testing.T) {
	hole := &origin{before: blackHole}
	inBubble(t, upstream.Config{Balance: upstream.Balance{Policy: "round_robin"}}, func(t *testing.T, s *sim) {
		began := time.Now()
		for range 5 { // of the first two, one meets it; then it is avoided
			s.get("")
		}
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("five requests took %v", took)
		}
		sleep(4 * time.Second)
		s.saw("dial_failed", "timeout: no connection: context deadline exceeded")
		if n := len(hole.dials()); n != 1 {
			t.Errorf("%d dials of the black hole", n)
		}
	}, hole, &origin{})
}

func TestABlackHoleAloneIsUnavailableWhenTheTimeIsUp(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		began := time.Now()
		_, err := s.try(t.Context(), "")
		if e, ok := errors.AsType[*fairlead.Error](err); !ok || e.Code != fairlead.Unavailable || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		sleep(2 * time.Second)
		s.saw("dial_failed", "timeout: no connection: context deadline exceeded")
	}, &origin{before: blackHole})
}

func TestSomeConnectionsAreKeptOpenThoughNobodyAsked(t *testing.T) {
	o := &origin{}
	inBubble(t, upstream.Config{Connections: upstream.Connections{MinIdle: 2}}, func(t *testing.T, s *sim) {
		sleep(time.Second)
		s.saw("opened", "to have 2 ready", "to have 2 ready")
		_ = o.peer(0).Close()
		synctest.Wait()
		if e := s.endpoint(0); e.Idle != 2 || len(o.dials()) != 3 {
			t.Errorf("after one was closed: %+v", e)
		}
		sleep(time.Minute)
		if e := s.endpoint(0); e.Idle != 2 || e.LearnedIdle != 0 {
			t.Errorf("after a minute: %+v", e)
		}
		began := time.Now()
		if s.get(""); time.Since(began) != 0 || s.Snapshot().Wait.Sum != 0 {
			t.Error("a request waited")
		}
	}, o)
}

type endless struct{ asked chan struct{} }

func (e endless) Resolve(ctx context.Context) ([]upstream.Endpoint, time.Duration, error) {
	close(e.asked)
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func TestCloseEndsDialsChecksSourcesWaitersAndResponses(t *testing.T) {
	resolver := endless{make(chan struct{})}
	o := &origin{serve: func(p *peer) {
		if _, ok := p.next(); ok {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			_, _ = p.next()
		}
	}}
	o.before = func(ctx context.Context) error {
		if len(o.dials()) > 1 {
			return blackHole(ctx)
		}
		return nil
	}
	cfg := upstream.Config{
		Resolver: resolver, Health: upstream.Health{Path: "/healthz", Interval: time.Minute},
		Connections: upstream.Connections{Max: 3}, Queue: upstream.Queue{Timeout: time.Hour},
	}
	inBubble(t, cfg, func(t *testing.T, s *sim) {
		<-resolver.asked
		res, err := s.send(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var lanes sync.WaitGroup
		for range 5 {
			lanes.Go(func() {
				_, err := s.try(t.Context(), "")
				if e, ok := errors.AsType[*fairlead.Error](err); !ok || e.Code != fairlead.Unavailable {
					t.Errorf("who waited got %v", err)
				}
			})
		}
		sleep(time.Second)
		began := time.Now()
		s.Close()
		s.Close()
		if _, err := io.ReadAll(res.Body); err == nil || err == io.EOF {
			t.Errorf("the response ended with %v", err)
		}
		lanes.Wait()
		if _, err := s.try(t.Context(), ""); err == nil {
			t.Error("a closed pool takes requests")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
	}, o)
}

func TestCloseDoesNotWaitForAPeerThatIsSilent(t *testing.T) {
	var silent chan struct{}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		silent = make(chan struct{}) // in the bubble, whose clock would stand still for another
		defer close(silent)
		var lanes sync.WaitGroup
		lanes.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pool/", strings.NewReader(strings.Repeat("x", 1<<20)))
			res, err := s.RoundTrip(req)
			if err == nil {
				_ = res.Body.Close()
				t.Error("no error")
			}
		})
		sleep(time.Hour)
		began := time.Now()
		s.Close()
		lanes.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v", took)
		}
	}, &origin{serve: func(*peer) { <-silent }})
}

func TestShutdownWaitsForResponses(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		lanes.Go(func() { s.get("10s") })
		synctest.Wait()
		began := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(began) < 10*time.Second || time.Since(began) > 10050*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		lanes.Wait()
	}, &origin{})
}

func TestShutdownCutsOffWhatOutlivesItsContext(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		lanes.Go(func() {
			if _, err := s.try(t.Context(), "1h"); err == nil {
				t.Error("the request was not cut off")
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		lanes.Wait()
	}, &origin{})
}
