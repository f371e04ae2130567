package upstream

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnObservationCountsInTheFirstBucketThatHoldsIt(t *testing.T) {
	t.Parallel()
	h := newHistogram(1, 2, 5)
	for _, v := range []float64{0, 1, 1.5, 2, 5, 5.25, 1e9} {
		h.observe(v)
	}
	s := h.snapshot()
	if !slices.Equal(s.Counts, []uint64{2, 2, 1, 2}) || s.Count != 7 || s.Sum != 1e9+14.75 {
		t.Errorf("%+v", s)
	}
	h.observe(1)
	if s.Count != 7 || s.Counts[0] != 2 {
		t.Error("a snapshot changed after it was taken")
	}
}

func TestObservationsAtTheSameTimeAreAllCounted(t *testing.T) {
	t.Parallel()
	h := newHistogram(secondBounds...)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				h.observe(0.5)
			}
		})
	}
	all.Wait()
	if s := h.snapshot(); s.Count != 4000 || s.Sum != 2000 {
		t.Errorf("%d observations of %v", s.Count, s.Sum)
	}
}

func TestBoundsRise(t *testing.T) {
	t.Parallel()
	for _, bounds := range [][]float64{secondBounds, ageBounds, requestBounds} {
		if !slices.IsSorted(bounds) || len(slices.Compact(slices.Clone(bounds))) != len(bounds) {
			t.Error(bounds)
		}
	}
}

func TestAReaderOfEventsIsWokenAndFindsThemInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRing()
		events, more := r.since(0)
		if len(events) != 0 {
			t.Fatalf("events of nothing: %v", events)
		}
		var seen []Event
		var reading sync.WaitGroup
		reading.Go(func() {
			for len(seen) < 3 {
				<-more
				var after uint64
				if len(seen) > 0 {
					after = seen[len(seen)-1].Seq
				}
				events, more = r.since(after)
				seen = append(seen, events...)
			}
		})
		for _, kind := range []string{"opened", "closed", "opened"} {
			time.Sleep(time.Second)
			r.add(Event{Kind: kind, Seq: 99})
		}
		reading.Wait()
		for i, e := range seen {
			if e.Seq != uint64(i+1) || i > 0 && e.Time.Sub(seen[i-1].Time) != time.Second {
				t.Errorf("event %d: %+v", i, e)
			}
		}
	})
}

func TestAReaderThatLagsSeesAGap(t *testing.T) {
	t.Parallel()
	r := newRing()
	for range 1000 {
		r.add(Event{})
	}
	for _, c := range []struct {
		after, first uint64
		n            int
	}{
		{0, 745, maxEvents},
		{700, 745, maxEvents},
		{744, 745, maxEvents},
		{990, 991, 10},
		{1000, 0, 0},
		{5000, 745, maxEvents}, // another pool's
	} {
		events, more := r.since(c.after)
		if len(events) != c.n || c.n > 0 && (events[0].Seq != c.first || events[c.n-1].Seq != 1000) {
			t.Errorf("after %d: %d events, the first %+v", c.after, len(events), events[:min(1, len(events))])
		}
		select {
		case <-more:
			t.Errorf("after %d: more is told of nothing", c.after)
		default:
		}
	}
}

func TestNobodyListeningCostsAnEventNothing(t *testing.T) {
	r := newRing()
	if n := testing.AllocsPerRun(1000, func() { r.add(Event{Kind: "opened"}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// steady is a load of perSecond requests, each for hold.
func steady(m *meter, from time.Time, length time.Duration, perSecond int, hold time.Duration) {
	type moment struct {
		at    time.Time
		begin bool
	}
	var all []moment
	for i := range int(length.Seconds() * float64(perSecond)) {
		at := from.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		all = append(all, moment{at, true}, moment{at.Add(hold), false})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
	for _, e := range all {
		switch {
		case e.begin:
			m.begin(e.at)
		case e.at.Before(from.Add(length)):
			m.end(e.at)
		}
	}
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func TestASuggestionIsLittlesLawWithHeadroom(t *testing.T) {
	t.Parallel()
	const minutes = 3 * time.Minute
	for _, c := range []struct {
		perSecond              int
		hold                   time.Duration
		open, allowed, perConn int
		connections            int
		why                    string
	}{
		{40, 250 * time.Millisecond, 64, 1024, 1, 18, "40 requests/s × 0.25 s = 10 at once; with headroom 18 connections. There are 64: fewer would do"},
		{40, 250 * time.Millisecond, 18, 1024, 1, 18, "40 requests/s × 0.25 s = 10 at once; with headroom 18 connections. The 1024 allowed are enough"},
		{40, 250 * time.Millisecond, 8, 8, 1, 18, "40 requests/s × 0.25 s = 10 at once; with headroom 18 connections. The 8 allowed are too few; requests waited"},
		{40, 250 * time.Millisecond, 14, 14, 1, 18, "40 requests/s × 0.25 s = 10 at once; with headroom 18 connections. The 14 allowed are too few"},
		{40, 250 * time.Millisecond, 1, 1024, 100, 1, "40 requests/s × 0.25 s = 10 at once; with headroom 18 requests on 1 connection. The 1024 allowed are enough"},
		{200, time.Second, 3, 1024, 100, 3, "200 requests/s × 1 s = 200 at once; with headroom 230 requests on 3 connections. The 1024 allowed are enough"},
		{10, 2 * time.Millisecond, 1, 4, 1, 2, "10 requests/s × 0.002 s = 0.02 at once; with headroom 2 connections. The 4 allowed are enough"},
	} {
		m := newMeter()
		steady(m, epoch, minutes, c.perSecond, c.hold)
		s := m.suggest(epoch.Add(minutes-time.Nanosecond), c.open, c.allowed, c.perConn)
		if s.Connections != c.connections || s.Why != c.why {
			t.Errorf("%d: %q,\nwant %d: %q", s.Connections, s.Why, c.connections, c.why)
		}
	}
}

func TestAPeakIsServedWithoutWaiting(t *testing.T) {
	t.Parallel()
	m := newMeter()
	for i := range 60 {
		at := epoch.Add(time.Duration(i) * time.Second)
		for range 30 {
			m.begin(at)
		}
		for range 30 {
			m.end(at.Add(100 * time.Millisecond))
		}
	}
	s := m.suggest(epoch.Add(time.Minute), 30, 100, 1)
	if s.Peak != 30 || s.Connections != 30 || !strings.Contains(s.Why, "= 3 at once, and up to 30; so 30 connections. The 100 allowed are enough") {
		t.Errorf("%+v", s)
	}
}

func TestStreamsCountWhileTheyAreOpen(t *testing.T) {
	t.Parallel()
	m := newMeter()
	for range 50 {
		m.begin(epoch)
	}
	s := m.suggest(epoch.Add(10*time.Minute), 50, 1024, 1)
	if s.Concurrency != 50 || s.Peak != 50 || s.Connections != 66 || s.Rate != 0 || s.Hold != 0 ||
		!strings.HasPrefix(s.Why, "no request began, and 50 were under way at once; with headroom 66 connections") {
		t.Errorf("%+v", s)
	}
	for range 50 {
		m.end(epoch.Add(10 * time.Minute))
	}
	if s = m.suggest(epoch.Add(12*time.Minute), 50, 1024, 1); s.Connections != 0 || s.Concurrency != 0 || s.Peak != 0 {
		t.Errorf("two minutes after their end: %+v", s)
	}
}

func TestTooLittleLoadSuggestsNothing(t *testing.T) {
	t.Parallel()
	m := newMeter()
	want := func(after time.Duration, why string) {
		t.Helper()
		if s := m.suggest(epoch.Add(after), 1, 1024, 1); s.Connections != 0 || s.Why != why {
			t.Errorf("%+v, want %q", s, why)
		}
	}
	want(0, "too few requests yet (0 in the last minute) to say")
	steady(m, epoch, 3*time.Second, 4, time.Millisecond)
	want(50*time.Second, "too few requests yet (12 in the last minute) to say")
	want(time.Hour, "too few requests yet (0 in the last minute) to say")
	m = newMeter()
	steady(m, epoch, 3*time.Second, 20, time.Millisecond)
	want(3*time.Second, "there have been requests for 3s only: too short to say")
	m = newMeter()
	for range 40 {
		m.begin(epoch)
	}
	want(0, "there have been requests for 0s only: too short to say")
}

// TestTheMeterAgreesWithCounting compares its mean with one that is summed up
// request by request, over random loads with pauses longer than it remembers.
func TestTheMeterAgreesWithCounting(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		m := newMeter()
		now, open := epoch, 0
		type change struct {
			at   time.Time
			open int
		}
		changes := []change{{now, 1}}
		m.begin(now)
		open++
		for range 300 {
			step := time.Duration(r.ExpFloat64() * float64(500*time.Millisecond))
			if r.IntN(100) == 0 {
				step = time.Duration(r.IntN(200)) * time.Second
			}
			now = now.Add(step)
			if open > 0 && r.IntN(2) == 0 {
				m.end(now)
				open--
			} else {
				m.begin(now)
				open++
			}
			changes = append(changes, change{now, open})
		}
		s, _, over := m.load(now)
		from, held := now.Add(-over), 0.0
		for i, c := range changes[:len(changes)-1] {
			begin, end := c.at, changes[i+1].at
			if begin.Before(from) {
				begin = from
			}
			if end.After(begin) {
				held += float64(c.open) * end.Sub(begin).Seconds()
			}
		}
		if d := s.Concurrency - held/over.Seconds(); d > 1e-6 || d < -1e-6 {
			t.Fatalf("%v, counted %v over %s", s.Concurrency, held/over.Seconds(), over)
		}
	}
}

func BenchmarkMeter(b *testing.B) {
	m := newMeter()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			m.begin(now)
			m.end(now)
		}
	})
}

func BenchmarkHistogram(b *testing.B) {
	h := newHistogram(secondBounds...)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.observe(0.0021)
		}
	})
}
