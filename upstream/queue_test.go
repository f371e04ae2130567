package upstream_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/upstream"
)

// one bounds a pool to one connection.
var one = upstream.Connections{Max: 1}

func TestAFreedConnectionGoesToTheOldestWaiter(t *testing.T) {
	o := &origin{}
	inBubble(t, upstream.Config{Connections: one}, func(t *testing.T, s *sim) {
		began := time.Now()
		var lanes sync.WaitGroup
		for i := range 5 {
			lanes.Go(func() {
				s.get("100ms")
				if took, want := time.Since(began), time.Duration(i+1)*100*time.Millisecond; took != want {
					t.Errorf("request %d was answered after %v, want %v", i, took, want)
				}
			})
			synctest.Wait()
		}
		lanes.Wait()
		if n := len(o.dials()); n != 1 {
			t.Errorf("%d dials", n)
		}
	}, o)
}

func TestWhatComesFirstAConnectionFreedOrDialedGoesToTheOldestWaiter(t *testing.T) {
	o := &origin{}
	o.before = func(context.Context) error {
		if len(o.dials()) > 1 {
			time.Sleep(time.Second)
		}
		return nil
	}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		began := time.Now()
		var lanes sync.WaitGroup
		for _, r := range []struct {
			at      time.Duration
			think   string
			conn    string
			answers time.Duration
		}{
			{0, "300ms", "0", 300 * time.Millisecond},
			// Dials, but is served by the connection that the first one leaves.
			{100 * time.Millisecond, "5s", "0", 5300 * time.Millisecond},
			// Dials too, but is served by the dial of the second.
			{400 * time.Millisecond, "10ms", "1", 1110 * time.Millisecond},
		} {
			lanes.Go(func() {
				time.Sleep(r.at)
				if conn := s.get(r.think); conn != r.conn || time.Since(began) != r.answers {
					t.Errorf("the request of %v was answered on connection %s after %v, want %s and %v", r.at, conn, time.Since(began), r.conn, r.answers)
				}
			})
		}
		lanes.Wait()
		s.saw("opened", "waiting for one: 1, the first for 0s; 0 open, 0 idle", "waiting for one: 1, the first for 0s; 1 open, 0 idle")
		if w := s.Snapshot().Wait; w.Count != 3 || math.Abs(w.Sum-0.9) > 1e-9 {
			t.Errorf("waits: %+v", w)
		}
	}, o)
}

// overloaded checks that err tells to come back in a second.
func overloaded(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*fairlead.Error](err)
	if !ok || e.Code != fairlead.Overloaded || e.RetryAfter != time.Second {
		t.Errorf("error %+v", err)
	}
}

func TestWhoFindsTheQueueFullIsSentAwayAtOnce(t *testing.T) {
	inBubble(t, upstream.Config{Connections: one, Queue: upstream.Queue{Length: 2}}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		for range 3 {
			lanes.Go(func() { s.get("100ms") })
		}
		synctest.Wait()
		began := time.Now()
		_, err := s.try(t.Context(), "")
		overloaded(t, err)
		if took := time.Since(began); took != 0 {
			t.Errorf("that took %v", took)
		}
		lanes.Wait()
		s.saw("refused", "upstream: http://a.test: 2 requests wait already for one of 1 connections")
		if n := s.Snapshot().Refusals["queue_full"]; n != 1 {
			t.Errorf("%d counted", n)
		}
	}, &origin{})
}

func TestWithoutAQueueOnlyThoseWaitForWhomSomebodyDials(t *testing.T) {
	o := &origin{before: func(context.Context) error { time.Sleep(time.Second); return nil }}
	inBubble(t, upstream.Config{Connections: upstream.Connections{Max: 2}, Queue: upstream.Queue{Length: -1}}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		for range 2 {
			lanes.Go(func() { s.get("1s") })
		}
		synctest.Wait()
		for range 2 { // while they are dialed, and when both are in use
			_, err := s.try(t.Context(), "")
			overloaded(t, err)
			sleep(1500 * time.Millisecond)
		}
		lanes.Wait()
	}, o)
}

func TestWhoWaitsTooLongIsToldWhileOthersGoOnWaiting(t *testing.T) {
	inBubble(t, upstream.Config{Connections: one}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		lanes.Go(func() { s.get("4s") })
		synctest.Wait()
		began := time.Now()
		lanes.Go(func() {
			_, err := s.try(t.Context(), "")
			overloaded(t, err)
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("it was told after %v", took)
			}
		})
		lanes.Go(func() {
			time.Sleep(1500 * time.Millisecond)
			s.get("")
			if took := time.Since(began); took != 4*time.Second {
				t.Errorf("the other was answered after %v", took)
			}
		})
		lanes.Wait()
		s.saw("refused", "upstream: http://a.test: none of 1 connections came free within 3s, 1 others wait")
	}, &origin{})
}

func TestWhoLeavesTheQueueLeavesItsPlaceToTheNext(t *testing.T) {
	inBubble(t, upstream.Config{Connections: one}, func(t *testing.T, s *sim) {
		var lanes sync.WaitGroup
		lanes.Go(func() { s.get("1s") })
		synctest.Wait()
		began := time.Now()
		why := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		lanes.Go(func() {
			if _, err := s.try(ctx, ""); !errors.Is(err, why) || time.Since(began) != 300*time.Millisecond {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
		synctest.Wait()
		lanes.Go(func() {
			s.get("")
			if took := time.Since(began); took != time.Second {
				t.Errorf("the next was answered after %v", took)
			}
		})
		sleep(300 * time.Millisecond)
		cancel(why)
		lanes.Wait()
	}, &origin{})
}

// The lease of who leaves in the moment it is served must not be lost: with
// one connection, nobody would be answered any more.
func TestAConnectionIsNotLostWhenItsWaiterLeavesInThatMoment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		timeout time.Duration // of the queue
	}{{"its context ends", time.Minute}, {"its time is up", 100 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			o := &origin{}
			inBubble(t, upstream.Config{Connections: one, Queue: upstream.Queue{Timeout: c.timeout}}, func(t *testing.T, s *sim) {
				for range 200 {
					var lanes sync.WaitGroup
					lanes.Go(func() { s.get("100ms") })
					synctest.Wait()
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					for range 3 {
						lanes.Go(func() { _, _ = s.try(ctx, "") })
					}
					lanes.Wait()
					cancel()
				}
				if e := s.endpoint(0); e.Idle > 1 {
					t.Errorf("%+v", e)
				}
				s.get("")
			}, o)
		})
	}
}

func TestRequestsOverTheMostInFlightWaitAndDialNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limits        upstream.Connections
		atOnce, conns int
	}{
		{upstream.Connections{Max: 10}, 10, 10},
		{upstream.Connections{MaxInFlight: 5}, 5, 5},
		{upstream.Connections{Max: 10, MaxInFlight: 5, MinIdle: 7}, 5, 7},
	} {
		t.Run(strconv.Itoa(c.conns), func(t *testing.T) {
			o := &origin{}
			inBubble(t, upstream.Config{Connections: c.limits}, func(t *testing.T, s *sim) {
				synctest.Wait()
				began := time.Now()
				var lanes sync.WaitGroup
				for range 100 {
					lanes.Go(func() { s.get("100ms") })
				}
				synctest.Wait()
				if e := s.endpoint(0); e.InFlight != c.atOnce || e.Waiting != 100-c.atOnce {
					t.Errorf("%d in flight and %d waiting", e.InFlight, e.Waiting)
				}
				lanes.Wait()
				if took := time.Since(began); took != 10*time.Second/time.Duration(c.atOnce) {
					t.Errorf("a hundred took %v", took)
				}
				if n := len(o.dials()); n != c.conns {
					t.Errorf("%d dials, want %d", n, c.conns)
				}
			}, o)
		})
	}
}

func TestTheConnectionUsedLastIsUsedNext(t *testing.T) {
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		var last string
		var lanes sync.WaitGroup
		for _, think := range []string{"30ms", "10ms", "20ms"} {
			lanes.Go(func() {
				conn := s.get(think)
				if think == "30ms" {
					last = conn
				}
			})
		}
		lanes.Wait()
		var used []string
		for range 3 {
			used = append(used, s.get("1ms"))
		}
		if !slices.Equal(used, []string{last, last, last}) {
			t.Errorf("%s was used last, and then %s", last, used)
		}
		if n := s.Snapshot().Reused; n != 3 {
			t.Errorf("%d counted as reused", n)
		}
	}, &origin{})
}
