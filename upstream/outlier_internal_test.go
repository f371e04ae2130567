package upstream

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOutliersThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Outliers
		want string // in the error; empty: none
	}{
		{Outliers{}, ""},
		{Config{}.withDefaults().Outliers, ""},
		{Outliers{Consecutive: -1, FailureRate: 2, MaxShare: 1, Time: maxEjection}, ""},
		{Outliers{FailureRate: -0.1}, "from 0 to 1"},
		{Outliers{FailureRate: math.NaN()}, "from 0 to 1"},
		{Outliers{MinRequests: -1}, "1 or more"},
		{Outliers{Window: -1}, "negative"},
		{Outliers{Time: -1}, "use up to 5m0s"},
		{Outliers{Time: maxEjection + 1}, "use up to 5m0s"},
		{Outliers{MaxShare: -0.1}, "turn outliers off"},
		{Outliers{MaxShare: 1.1}, "turn outliers off"},
		{Outliers{MaxShare: math.NaN()}, "turn outliers off"},
	} {
		err := c.o.validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.o, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// among returns the record of one of n endpoints, and when it was new.
func among(n int, cfg Outliers) (r *record, began time.Time) {
	o := newOutliers(Config{Outliers: cfg}.withDefaults().Outliers)
	for range n {
		r = o.add()
	}
	return r, o.began
}

// answers observes the results in pattern, x for a failure and . for a
// success, one each gap from at on. It returns how many it took until the
// endpoint was out, or 0.
func answers(r *record, at time.Time, gap time.Duration, pattern string) (n int, until time.Time, why string) {
	for i, c := range pattern {
		if out, until, why := r.observe(at, c == 'x'); out {
			return i + 1, until, why
		}
		at = at.Add(gap)
	}
	return 0, time.Time{}, ""
}

func TestFailuresTakeAnEndpointOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg     Outliers
		gap     time.Duration
		pattern string
		n       int // the answer that takes it out; 0: none
		why     string
	}{
		"five in a row":             {Outliers{}, 0, "xxxxx", 5, "5 failures in a row"},
		"a row is counted for long": {Outliers{}, time.Minute, "xxxxx", 5, "5 failures in a row"},
		"a success ends a row":      {Outliers{}, time.Second, "xxxx.xxxx.xxxx.", 0, ""},
		"two in a row":              {Outliers{Consecutive: 2}, 0, "x.xx", 4, "2 failures in a row"},
		"half of twenty":            {Outliers{}, 0, strings.Repeat(".x", 10), 20, "10 of 20 requests failed in 10 s"},
		"less than half":            {Outliers{}, 0, strings.Repeat("..x", 100), 0, ""},
		"half of too few":           {Outliers{}, 600 * time.Millisecond, strings.Repeat(".x", 100), 0, ""},
		"a share of few":            {Outliers{FailureRate: 0.1, MinRequests: 5, Window: 500 * time.Millisecond}, 0, ".....x", 6, "1 of 6 requests failed in 0.5 s"},
		"any row is borne":          {Outliers{Consecutive: -1}, 0, "xxxxxxxxxxxxxxxxxxxx", 20, "20 of 20 requests failed in 10 s"},
		"no rate is too high":       {Outliers{Consecutive: -1, FailureRate: 2}, 0, strings.Repeat("x", 200), 0, ""},
		"off":                       {Outliers{Off: true}, 0, strings.Repeat("x", 200), 0, ""},
	} {
		r, began := among(2, c.cfg)
		n, _, why := answers(r, began, c.gap, c.pattern)
		if n != c.n || why != c.why {
			t.Errorf("%s: out with answer %d, %q; want %d, %q", name, n, why, c.n, c.why)
		}
	}
}

func TestWhatIsOlderThanTheWindowIsForgotten(t *testing.T) {
	t.Parallel()
	r, began := among(2, Outliers{Consecutive: -1})
	n, _, _ := answers(r, began, 0, strings.Repeat(".", 100))
	m, _, _ := answers(r, began.Add(10*time.Second-1), 0, strings.Repeat("x", 20))
	if n != 0 || m != 0 {
		t.Errorf("out with answer %d or %d", n, m)
	}
	if _, _, why := answers(r, began.Add(10*time.Second), 0, "x"); why != "21 of 21 requests failed in 10 s" {
		t.Errorf("out: %q", why)
	}
}

func TestAnEjectionEndsAndStartsAnew(t *testing.T) {
	t.Parallel()
	r, began := among(2, Outliers{})
	now := began.Add(time.Hour)
	n, until, _ := answers(r, now, 0, "xxxxx")
	if length := until.Sub(now); n != 5 || !within(length, 10*time.Second) {
		t.Fatalf("out with answer %d for %v", n, length)
	}
	if !r.isOut(now) || !r.isOut(until.Add(-1)) || r.isOut(until) {
		t.Errorf("out: now %t, then %t, at the end %t", r.isOut(now), r.isOut(until.Add(-1)), r.isOut(until))
	}
	if n, _, _ := answers(r, now, time.Millisecond, strings.Repeat("x", 100)); n != 0 {
		t.Errorf("answer %d took out who was out", n)
	}
	if n, _, _ := answers(r, until, 0, "xxxx.xxxx.xxxx"); n != 0 {
		t.Errorf("out again with answer %d", n)
	}
	if n, _, _ := answers(r, until, 0, "x"); n != 1 {
		t.Error("five failures in a row after the return were borne")
	}
}

func TestEachEjectionIsTwiceAsLongAndForgivenInTime(t *testing.T) {
	t.Parallel()
	r, now := among(2, Outliers{})
	eject := func(want time.Duration) {
		t.Helper()
		n, until, _ := answers(r, now, 0, "xxxxx")
		length := until.Sub(now)
		if n != 5 || !within(length, want) || length > maxEjection {
			t.Fatalf("out with answer %d for %v, want %v", n, length, want)
		}
		now = until
	}
	for _, seconds := range []int{10, 20, 40, 80, 160, 300, 300, 300} {
		eject(time.Duration(seconds) * time.Second)
	}
	now = now.Add(9 * time.Second) // not long enough
	eject(300 * time.Second)
	now = now.Add(20 * time.Second) // two are forgiven
	eject(80 * time.Second)
	now = now.Add(time.Hour)
	eject(10 * time.Second)
}

func TestEjectionsThatBeganTogetherDoNotEndTogether(t *testing.T) {
	t.Parallel()
	o := newOutliers(Config{Outliers: Outliers{MaxShare: 1}}.withDefaults().Outliers)
	ends := make(map[time.Time]bool)
	for range 20 {
		_, until, _ := answers(o.add(), o.began, 0, "xxxxx")
		ends[until] = true
	}
	if len(ends) < 19 { // the first was alone
		t.Errorf("only %d differ", len(ends))
	}
}

func TestNoMoreThanTheirShareAreOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n     int
		share float64
		want  int
	}{
		{1, 0.5, 0}, {1, 1, 0},
		{2, 0.5, 1}, {2, 0.1, 1}, {2, 1, 2},
		{3, 0.5, 1}, {3, 0.1, 1}, {3, 0.67, 2}, {3, 1, 3},
		{10, 0.5, 5}, {10, 0.01, 1}, {10, 0.3, 3}, {10, 0.99, 9}, {10, 1, 10},
		{100, 0.29, 29},
	} {
		o := newOutliers(Config{Outliers: Outliers{MaxShare: c.share}}.withDefaults().Outliers)
		var all []*record
		for range c.n {
			all = append(all, o.add())
		}
		var first time.Time // return
		out := 0
		for _, r := range all {
			n, until, _ := answers(r, o.began, 0, "xxxxxxxxxx")
			if n == 0 {
				continue
			}
			out++
			if first.IsZero() || until.Before(first) {
				first = until
			}
		}
		if out != c.want {
			t.Errorf("%d of %d are out with a share of %g, want %d", out, c.n, c.share, c.want)
		}
		if out == 0 || out == c.n {
			continue
		}
		last := all[c.n-1]
		if n, _, _ := answers(last, first.Add(-1), 0, "x"); n != 0 {
			t.Errorf("%d with a share of %g: one too many before any is back", c.n, c.share)
		}
		if n, _, why := answers(last, first, 0, "x"); n != 1 || why != "12 failures in a row" {
			t.Errorf("%d with a share of %g: a place that is free is not taken: %q", c.n, c.share, why)
		}
	}
}

func TestAnEndpointThatHasGoneTakesNoPlace(t *testing.T) {
	t.Parallel()
	o := newOutliers(Config{}.withDefaults().Outliers)
	a, b, c := o.add(), o.add(), o.add()
	if n, _, _ := answers(a, o.began, 0, "xxxxx"); n != 5 {
		t.Fatal("the first is not out")
	}
	o.remove(a)
	o.remove(a)
	if n, _, _ := answers(b, o.began, 0, "xxxxx"); n != 5 {
		t.Error("the second is not out, although the first has gone")
	}
	if n, _, _ := answers(a, o.began.Add(time.Hour), 0, "xxxxx"); n != 0 {
		t.Error("who has gone was put out")
	}
	o.remove(b)
	if n, _, _ := answers(c, o.began, 0, "xxxxx"); n != 0 {
		t.Error("the only one left is out")
	}
}

func TestOutliersAreSafeToUseAtOnce(t *testing.T) {
	t.Parallel()
	o := newOutliers(Config{Outliers: Outliers{MaxShare: 0.25, Time: time.Minute}}.withDefaults().Outliers)
	var all [8]*record
	for i := range all {
		all[i] = o.add()
	}
	var working sync.WaitGroup
	for w := range 8 {
		working.Go(func() {
			for i := range 2000 {
				now := o.began.Add(time.Duration(i) * time.Millisecond)
				all[(i+w)%8].observe(now, i%3 != 0)
				all[i%8].isOut(now)
				if i%100 == 0 {
					extra := o.add()
					extra.observe(now, true)
					o.remove(extra)
				}
			}
		})
	}
	working.Wait()
	out := 0
	for _, r := range all {
		if r.isOut(o.began.Add(2 * time.Second)) {
			out++
		}
	}
	if out < 2 || out > 4 { // a quarter of 8 to 16
		t.Errorf("%d are out", out)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, c := range []struct {
		name   string
		cfg    Outliers
		failed bool
	}{{"success", Outliers{}, false}, {"failure", Outliers{Consecutive: math.MaxInt, FailureRate: 2}, true}, {"off", Outliers{Off: true}, false}} {
		b.Run(c.name, func(b *testing.B) {
			r, now := among(3, c.cfg)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Microsecond)
				r.observe(now, c.failed)
			}
		})
	}
	b.Run("success at once", func(b *testing.B) {
		r, began := among(3, Outliers{})
		b.RunParallel(func(pb *testing.PB) {
			now := began
			for pb.Next() {
				now = now.Add(time.Microsecond)
				r.observe(now, false)
			}
		})
	})
	b.Run("isOut", func(b *testing.B) {
		r, now := among(3, Outliers{})
		answers(r, now, 0, "xxxxx")
		for b.Loop() {
			r.isOut(now)
		}
	})
}
