package topic_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestNewestDropsTheOldestOfWhatIsUnread(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Newest, Newest: 2})
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "a b c d e")
	want(t, r, "+3 d e")
	publish(t, l, "f")
	want(t, r, "f")
	publish(t, l, "g h! i j k")
	want(t, r, "+1 h! +1 j k")
	if s := r.Status()[0]; s.Skipped != 5 || s.Lag != 0 {
		t.Errorf("status %+v", s)
	}
	if s := l.Stats(); s.Skipped != 5 || s.Policy != "newest 2" {
		t.Errorf("stats %+v", s)
	}
}

func TestWhatNewestWouldSkipIsNoGapWhenEvicted(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Newest, Newest: 2, Events: 3})
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "a b c d e f")
	want(t, r, "+4 e f")
}

func TestTheNewestItselfIsAGapWhenEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Newest, Newest: 2, Age: time.Minute})
		r := read(t, l, fairlead.Earliest)
		publish(t, l, "a b c")
		time.Sleep(time.Minute)
		want(t, r, "gap3")
	})
}

func TestLatestPerKeyConflates(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey})
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "x=1 y=1 x=2 loose x=3! y=2 x=4")
	// Without a key nothing takes an event's place; a critical one stays.
	want(t, r, "+3 loose x=3! y=2 x=4")
	publish(t, l, "x=5")
	want(t, r, "x=5")
}

func TestWhatWasSupersededIsNoGapWhenEvicted(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey, Events: 3})
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "x=1 x=2 x=3 x=4 x=5")
	want(t, r, "+4 x=5")
	publish(t, l, "y=1 x=6 x=7 x=8 x=9") // y=1 was nobody's to skip
	want(t, r, "gap2 +2 x=9")
}

func TestACriticalEventIsLostOnlyWithAGap(t *testing.T) {
	t.Parallel()
	for _, p := range []topic.Policy{
		{Deliver: topic.Newest, Events: 2},
		{Deliver: topic.LatestPerKey, Events: 2},
	} {
		l := topic.New("n", p)
		r, kept := read(t, l, fairlead.Earliest), read(t, l, fairlead.Earliest)
		publish(t, l, "x=1! x=2")
		want(t, kept, "x=1! x=2")
		publish(t, l, "x=3 x=4")
		want(t, r, "gap2 +1 x=4")
		want(t, kept, "+1 x=4")
	}
}

func TestARateSpacesEventsExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey, Rate: 4})
		r := read(t, l, fairlead.Earliest)
		publish(t, l, "x=1 y=1 x=2")
		start, buf := time.Now(), make([]topic.Item, 10)
		next := func(words string, at time.Duration) {
			t.Helper()
			n, err := r.Next(t.Context(), buf)
			if got := show(buf[:n]); err != nil || got != words || time.Since(start) != at {
				t.Fatalf("read %q, %v after %v, want %q after %v", got, err, time.Since(start), words, at)
			}
		}
		next("+1 y=1", 0)
		time.Sleep(100 * time.Millisecond)
		publish(t, l, "x=3 x=4") // what is held back stays subject to the policy
		next("+2 x=4", 250*time.Millisecond)
		time.Sleep(time.Second) // what was not used is not saved up
		publish(t, l, "x=5 y=2")
		next("x=5", 1250*time.Millisecond)
		next("y=2", 1500*time.Millisecond)
		publish(t, l, "z=1 y=3! x=7")
		next("z=1 y=3!", 1500*time.Millisecond) // critical: at once, and what is before it
		l.Close()
		next("x=7 end", 1750*time.Millisecond)
	})
}

func TestAnUnpacedReaderHasNoRate(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Newest, Newest: 3, Rate: 0.001})
	publish(t, l, "a b c")
	r := topic.NewReader()
	r.Unpaced = true
	defer r.Close()
	if err := r.Add(l, fairlead.Earliest); err != nil {
		t.Fatal(err)
	}
	want(t, r, "a b c")
}

func TestAReaderThatLagsIsSentAwayWhenThePolicySaysSo(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 2, OnLag: topic.LagClose})
	publish(t, l, "a b")
	r := read(t, l, fairlead.Earliest)
	at := want(t, r, "a b")[1].Cursor
	publish(t, l, "c d")
	want(t, r, "c d")
	publish(t, l, "e f g")
	items := want(t, r, "lag1")
	if g := items[0].Gap; items[0].Cursor != g.After || g.Earliest != l.Bounds().Earliest {
		t.Errorf("lag at %s with gap %+v", items[0].Cursor, g)
	}
	publish(t, l, "h")
	want(t, r, "")
	// Whoever comes back that late is told, and goes on.
	back := read(t, l, at)
	want(t, back, "gap4 g h")
	publish(t, l, "i j k")
	want(t, back, "lag1")
}

func TestAReaderThatLagsWhileItReplaysIsSentAwayToo(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 2, OnLag: topic.LagClose})
	publish(t, l, "a b")
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "c")
	want(t, r, "lag1")
}

func TestPoliciesReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for s, p := range map[string]topic.Policy{
		"every":                      {},
		"wait":                       {Deliver: topic.Wait},
		"newest 3":                   {Deliver: topic.Newest, Newest: 3},
		"newest 1 at most 0.5/s":     {Deliver: topic.Newest, Newest: 1, Rate: 0.5},
		"latest-per-key":             {Deliver: topic.LatestPerKey},
		"latest-per-key at most 5/s": {Deliver: topic.LatestPerKey, Rate: 5},
	} {
		got, err := topic.ParseDeliver("  " + strings.ReplaceAll(s, " ", "\t "))
		if err != nil || got != p || got.String() != s {
			t.Errorf("%q is read as %+v, %v, and written as %q", s, got, err, got)
		}
	}
	for _, s := range []string{
		"", "all", "Every", "every 2", "newest", "newest 0", "newest -1", "newest x", "newest 2 3", "wait at most 5/s",
		"every at most 5/s", "latest-per-key 5/s", "latest-per-key at most 5", "latest-per-key at most 0/s",
		"latest-per-key at most -1/s", "latest-per-key at most NaN/s", "latest-per-key at most Inf/s", "latest-per-key at least 5/s",
	} {
		if p, err := topic.ParseDeliver(s); err == nil || !strings.HasPrefix(err.Error(), "topic: deliver ") {
			t.Errorf("%q is read as %+v, %v", s, p, err)
		}
	}
}

func TestRatesThatMakeNoSenseAreNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{-1, math.NaN(), math.Inf(1), math.Inf(-1)} {
			l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey, Rate: rate})
			publish(t, l, "a b c")
			want(t, read(t, l, fairlead.Earliest), "a b c")
		}
		l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey, Rate: 1e-300, Age: 3 * time.Hour})
		publish(t, l, "a b")
		r := read(t, l, fairlead.Earliest)
		want(t, r, "a")
		time.Sleep(time.Hour)
		want(t, r, "b")
	})
}

func FuzzParseDeliver(f *testing.F) {
	for _, s := range []string{"every", "wait", "newest 10 at most 2/s", "latest-per-key at most 0.1/s", "newest 99999999999999999999", "latest-per-key at most 1e400/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := topic.ParseDeliver(s)
		if err != nil {
			return
		}
		again, err := topic.ParseDeliver(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is read as %+v, which is written as %q and read as %+v, %v", s, p, p, again, err)
		}
	})
}

func TestAReaderFarBehindIsTakenPastWhatItIsNotOwed(t *testing.T) {
	t.Parallel()
	const many = 3*4096 + 7 // more than are passed over while the log is locked
	for _, p := range []topic.Policy{
		{Deliver: topic.LatestPerKey, Events: 2 * many},
		{Deliver: topic.Newest, Newest: 1, Events: 2 * many},
	} {
		l := topic.New("n", p)
		r := read(t, l, fairlead.Earliest)
		publish(t, l, "k=first!"+strings.Repeat(" k=x", many)+" k=last")
		want(t, r, "k=first! +12295 k=last")
		publish(t, l, strings.Repeat("k=y ", many)+"k=now")
		want(t, r, "+12295 k=now")
	}
}
