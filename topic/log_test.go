package topic_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestAReaderReadsWhatFollowsItsCursor(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a b c")
	items := want(t, read(t, l, fairlead.Earliest), "a b c")
	for i, item := range items {
		rest := []string{"b c d", "c d", "d"}[i]
		r := read(t, l, item.Cursor)
		if i == 0 {
			publish(t, l, "d")
		}
		want(t, r, rest)
		if item.Cursor != item.Record.Event.Cursor || item.Record.Event.Topic != "n" || item.Log != l {
			t.Errorf("item %+v does not say where it is from", item)
		}
	}
}

func TestALatestReaderReadsOnlyWhatFollows(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a")
	r := read(t, l, fairlead.Latest)
	want(t, r, "")
	publish(t, l, "b")
	want(t, r, "b")
}

func TestASnapshotIsTheLatestOfEachKeyAndThenLive(t *testing.T) {
	t.Parallel()
	for _, p := range []topic.Policy{{}, {Deliver: topic.Newest}, {Deliver: topic.LatestPerKey}} {
		l := topic.New("n", p)
		publish(t, l, "x=1 y=1 loose x=2 z=1 loose")
		r := read(t, l, fairlead.Snapshot)
		want(t, r, "y=1 x=2 z=1")
		publish(t, l, "x=3")
		want(t, r, "x=3")
	}
}

func TestASnapshotGoesOnWithWhatCameWhileItWasRead(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "x=1 loose y=1 x=2 loose")
	r := read(t, l, fairlead.Snapshot)
	publish(t, l, "x=3 loose")
	want(t, r, "y=1 x=2 x=3 loose")
}

func TestAValueEvictedFromASnapshotIsAGap(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 4})
	publish(t, l, "x=1 loose y=1 z=1")
	r := read(t, l, fairlead.Snapshot)
	publish(t, l, "a b") // evicts x=1 and loose, of which only x was owed
	want(t, r, "gap1 y=1 z=1 a b")

	r = read(t, l, fairlead.Snapshot)
	publish(t, l, "c d e f g") // all of the snapshot, and a live one
	want(t, r, "gap3 d e f g")
}

func TestAnEmptySnapshotIsLive(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	r := read(t, l, fairlead.Snapshot)
	publish(t, l, "x=1")
	want(t, r, "x=1")
	r = read(t, topic.New("n", topic.Policy{}), fairlead.Snapshot)
	want(t, r, "")
}

func TestAReaderOfASnapshotStandsWhereItWasTaken(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"", "loose", "x=1 loose y=1 loose x=2 loose"} {
		l := topic.New("n", topic.Policy{})
		publish(t, l, words)
		r := read(t, l, fairlead.Snapshot)
		taken, at := l.Bounds().Latest, r.Position(l)
		publish(t, l, "late")
		buf := make([]topic.Item, 2)
		if strings.Contains(words, "=") {
			if n := r.Poll(buf); show(buf[:n]) != "y=1 x=2" {
				t.Fatalf("after %q the snapshot is %q", words, show(buf[:n]))
			}
			at = buf[1].Cursor
			want(t, read(t, l, buf[0].Cursor), "loose x=2 loose late") // nothing is lost in its midst
		}
		if at != taken || r.Position(l) != taken || r.Status()[0].Lag != 1 {
			t.Errorf("after %q: at %s and %+v, taken at %s", words, at, r.Status()[0], taken)
		}
		want(t, r, "late")
	}
}

func TestNextWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{})
		r := read(t, l, fairlead.Latest)
		start := time.Now()
		time.AfterFunc(3*time.Second, func() { publish(t, l, "a") })
		buf := make([]topic.Item, 10)
		n, err := r.Next(t.Context(), buf)
		if err != nil || show(buf[:n]) != "a" || time.Since(start) != 3*time.Second {
			t.Fatalf("Next returned %q, %v after %v", show(buf[:n]), err, time.Since(start))
		}

		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if n, err := r.Next(ctx, buf); n != 0 || !errors.Is(err, gone) {
			t.Fatalf("Next returned %d, %v; want the context's cause", n, err)
		}
	})
}

func TestNextWithNoRoomReturnsAtOnce(t *testing.T) {
	t.Parallel()
	if n, err := topic.NewReader().Next(t.Context(), nil); n != 0 || err != nil {
		t.Fatalf("Next returned %d, %v", n, err)
	}
}

func TestAClosedLogEndsItsReadersOnce(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a")
	r, late := read(t, l, fairlead.Earliest), read(t, l, fairlead.Latest)
	l.Close()
	l.Close()
	l.Fault(fairlead.Errorf(fairlead.Fault, "too late"))
	items := want(t, r, "a end")
	want(t, r, "")
	want(t, late, "end")
	want(t, read(t, l, fairlead.Latest), "end")
	want(t, read(t, l, fairlead.Snapshot), "end")
	want(t, read(t, l, items[0].Cursor), "end")
	if err := topic.NewReader().Add(l, items[1].Cursor); !errors.Is(err, topic.ErrPastEnd) {
		t.Fatalf("reading past the end: %v, want ErrPastEnd", err)
	}
	_, err := l.Append(t.Context(), topic.Batch{Events: events("b")})
	wantCode(t, err, fairlead.Conflict)
}

func TestAPublishCanCloseTheLog(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	r := read(t, l, fairlead.Latest)
	if _, err := l.Append(t.Context(), topic.Batch{Events: events("a b"), Close: true}); err != nil {
		t.Fatal(err)
	}
	want(t, r, "a b end")
	if !l.Bounds().Closed {
		t.Error("the log is not closed")
	}

	l = topic.New("n", topic.Policy{})
	res, err := l.Append(t.Context(), topic.Batch{Close: true})
	if err != nil || res.Count != 0 || res.First != l.Bounds().Latest || res.Last != res.First {
		t.Fatalf("closing without events: %+v, %v", res, err)
	}
	want(t, read(t, l, fairlead.Earliest), "end")
}

func TestAFaultIsNeverAnEnd(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a")
	l.Fault(fairlead.Errorf(fairlead.Fault, "cut off"))
	l.Close()
	items := want(t, read(t, l, fairlead.Earliest), "a fault:fault")
	if err := topic.NewReader().Add(l, items[1].Cursor); !errors.Is(err, topic.ErrPastEnd) {
		t.Fatalf("reading past the fault: %v, want ErrPastEnd", err)
	}
	if s := l.Stats(); !s.Closed || s.Fault != "fault" {
		t.Errorf("stats %+v do not tell the fault", s)
	}
}

func TestACursorOfAnotherLifeIsAnUnknownGap(t *testing.T) {
	t.Parallel()
	l, other := topic.New("n", topic.Policy{}), topic.New("n", topic.Policy{})
	publish(t, l, "a b")
	publish(t, other, "x y z")
	items := want(t, read(t, l, other.Bounds().Latest), "gap? a b")
	g := items[0].Gap
	if g.After != other.Bounds().Latest || g.Earliest != l.Bounds().Earliest || g.Skipped != 0 {
		t.Errorf("gap %+v", g)
	}
	want(t, read(t, l, items[0].Cursor), "a b")

	life, seq, err := l.Bounds().Latest.Parse()
	if err != nil {
		t.Fatal(err)
	}
	// Of this life, but from a future that never was: nobody knows either.
	want(t, read(t, l, fairlead.NewCursor(life, seq+1)), "gap? a b")
	want(t, read(t, topic.New("n", topic.Policy{}), other.Bounds().Latest), "gap?")
}

func TestWhatIsNoCursorIsRefused(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	for _, bad := range []fairlead.Cursor{"", "newest", "42", "Latest"} {
		r := topic.NewReader()
		wantCode(t, r.Add(l, bad), fairlead.InvalidArgument)
		if r.Remove(l) {
			t.Errorf("%q is refused and read all the same", bad)
		}
	}
}

func TestCursorsOfLaterEventsAndLivesSortLater(t *testing.T) {
	t.Parallel()
	var last fairlead.Cursor
	for range 3 {
		l := topic.New("n", topic.Policy{})
		for range 40 {
			publish(t, l, "a")
			if latest := l.Bounds().Latest; latest <= last {
				t.Fatalf("%s comes after %s", latest, last)
			} else {
				last = latest
			}
		}
	}
}

func TestABatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Bytes: 2000})
	big := fairlead.Event{Data: make([]byte, 2000)}
	_, err := l.Append(t.Context(), topic.Batch{Events: append(events("a b"), big)})
	wantCode(t, err, fairlead.TooLarge)
	want(t, read(t, l, fairlead.Earliest), "")

	res, err := l.Append(t.Context(), topic.Batch{Events: events("a b c")})
	if err != nil || res.Count != 3 {
		t.Fatal(res, err)
	}
	items := want(t, read(t, l, fairlead.Earliest), "a b c")
	if res.First != items[0].Cursor || res.Last != items[2].Cursor {
		t.Errorf("result %+v does not match the items", res)
	}
}

func TestTheLogSetsTheTimeOnlyWhenThePublisherDidNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{})
		then := time.Now().Add(-time.Hour)
		time.Sleep(time.Second)
		if _, err := l.Append(t.Context(), topic.Batch{Events: []fairlead.Event{{Time: then}, {}}}); err != nil {
			t.Fatal(err)
		}
		items := drain(read(t, l, fairlead.Earliest))
		if got := items[0].Record.Event.Time; !got.Equal(then) {
			t.Errorf("the publisher's time became %v", got)
		}
		if got := items[1].Record.Event.Time; !got.Equal(time.Now()) {
			t.Errorf("time %v, want now", got)
		}
	})
}
