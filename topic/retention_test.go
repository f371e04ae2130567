package topic_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestTheOldestIsEvictedOverTheCount(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 3})
	r := read(t, l, fairlead.Earliest)
	publish(t, l, "a b c d e")
	want(t, read(t, l, fairlead.Earliest), "c d e")
	items := want(t, r, "gap2 c d e")
	life, _, err := items[0].Cursor.Parse()
	if err != nil {
		t.Fatal(err)
	}
	wanted := topic.Gap{After: fairlead.NewCursor(life, 0), Earliest: fairlead.NewCursor(life, 3), Skipped: 2}
	if items[0].Gap != wanted || items[0].Cursor != fairlead.NewCursor(life, 2) {
		t.Errorf("gap %+v at %s", items[0].Gap, items[0].Cursor)
	}
	if s := l.Stats(); s.Events != 3 || s.Total != 5 || s.Gaps != 1 || s.Readers != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestTheOldestIsEvictedOverTheBytes(t *testing.T) {
	t.Parallel()
	one := topic.New("n", topic.Policy{})
	publish(t, one, "a")
	each := one.Stats().Bytes
	l := topic.New("n", topic.Policy{Bytes: 3 * each})
	publish(t, l, "a b c d e")
	want(t, read(t, l, fairlead.Earliest), "c d e")
	publish(t, l, "longer")
	want(t, read(t, l, fairlead.Earliest), "e longer")
	if s := l.Stats(); s.Bytes != 2*each+5 {
		t.Errorf("%d bytes retained, want %d", s.Bytes, 2*each+5)
	}
}

func TestEventsOverTheirAgeAreEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Age: time.Minute})
		publish(t, l, "a b")
		r := read(t, l, fairlead.Earliest)
		time.Sleep(30 * time.Second)
		publish(t, l, "c")
		time.Sleep(30*time.Second - 1)
		want(t, read(t, l, fairlead.Earliest), "a b c")
		time.Sleep(time.Nanosecond)
		want(t, read(t, l, fairlead.Earliest), "c")
		want(t, r, "gap2 c")
		time.Sleep(30 * time.Second)
		want(t, read(t, l, fairlead.Earliest), "")
		b := l.Bounds()
		if b.Earliest != b.Latest {
			t.Errorf("bounds %+v of what retains nothing", b)
		}
		want(t, read(t, l, b.Latest), "")
	})
}

func TestAnAgeBeyondTheClockExpiresNothing(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Age: 1<<63 - 1})
	publish(t, l, "a")
	want(t, read(t, l, fairlead.Earliest), "a")
}

func TestAResumeBeforeTheRetentionIsAGap(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 2})
	publish(t, l, "a b")
	at := want(t, read(t, l, fairlead.Earliest), "a b")[0].Cursor
	publish(t, l, "c d e")
	want(t, read(t, l, at), "gap2 d e")
	l.Close()
	want(t, read(t, l, at), "gap2 d e end")
}

func TestABatchOverTheRetentionKeepsItsEnd(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 2})
	r := read(t, l, fairlead.Earliest)
	if _, err := l.Append(t.Context(), topic.Batch{Events: events("a b c d")}); err != nil {
		t.Fatal(err)
	}
	want(t, r, "gap2 c d")
}

func TestALongLivedLogReusesItsRoom(t *testing.T) {
	l := topic.New("n", topic.Policy{Events: 100})
	r := read(t, l, fairlead.Earliest)
	buf, batch := make([]topic.Item, 200), topic.Batch{Events: events("a b c d e f g h i j")}
	for range 50 {
		if _, err := l.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		r.Poll(buf)
	}
	// The batch's slice of records, ten of them with frames' room and cursors.
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := l.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if n := r.Poll(buf); n != 10 {
			t.Fatalf("read %d of 10", n)
		}
	})
	if allocs > 1+10*2+1 {
		t.Errorf("%v allocations to append and read a batch of ten", allocs)
	}
}
