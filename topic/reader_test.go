package topic_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// logs returns n logs that a new reader reads.
func logs(t *testing.T, n int, p topic.Policy) ([]*topic.Log, *topic.Reader) {
	t.Helper()
	r := topic.NewReader()
	t.Cleanup(r.Close)
	made := make([]*topic.Log, n)
	for i := range made {
		made[i] = topic.New(fmt.Sprint("n", i), p)
		if err := r.Add(made[i], fairlead.Latest); err != nil {
			t.Fatal(err)
		}
	}
	return made, r
}

func TestABusyLogDoesNotStarveTheOthers(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 3, topic.Policy{})
	drain(r)
	publish(t, ls[0], strings.Repeat("busy ", 1000))
	publish(t, ls[1], "one")
	publish(t, ls[2], "two")
	buf := make([]topic.Item, 1000)
	if got := show(buf[:r.Poll(buf)]); !strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Error("one page of a busy log leaves no room for the others")
	}
}

func TestWithABusyLogASmallBufferReachesAllOthers(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 3, topic.Policy{})
	drain(r)
	publish(t, ls[0], "busy busy")
	publish(t, ls[1], "one")
	publish(t, ls[2], "two")
	var seen []string
	for buf := make([]topic.Item, 1); len(seen) < 4; {
		publish(t, ls[0], "busy")
		seen = append(seen, show(buf[:r.Poll(buf)]))
	}
	if got := strings.Join(seen, " "); got != "busy one two busy" {
		t.Errorf("read %q", got)
	}
}

func TestAReaderThatIsAlwaysBehindStaysSmall(t *testing.T) {
	// Not parallel: it measures what all goroutines allocate.
	ls, r := logs(t, 2, topic.Policy{})
	drain(r)
	for _, l := range ls {
		publish(t, l, strings.Repeat("a ", 5000))
	}
	buf := make([]topic.Item, 1)
	for range 100 {
		r.Poll(buf)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 8000 {
		if r.Poll(buf) != 1 {
			t.Fatal("it has caught up")
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8000 {
		t.Errorf("8000 reads allocated %d bytes", n)
	}
}

func TestTopicsComeAndGoWhileNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := logs(t, 1, topic.Policy{})
		read := make(chan string)
		go func() {
			buf := make([]topic.Item, 10)
			for {
				n, err := r.Next(t.Context(), buf)
				if err != nil {
					return
				}
				read <- show(buf[:n])
			}
		}()
		l := topic.New("late", topic.Policy{})
		publish(t, l, "a b")
		synctest.Wait()
		if err := r.Add(l, fairlead.Earliest); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "a b" {
			t.Fatalf("read %q of the topic that came", got)
		}
		wantCode(t, r.Add(l, fairlead.Earliest), fairlead.Conflict)
		if !r.Remove(l) || r.Remove(l) {
			t.Fatal("Remove does not tell whether it was read")
		}
		publish(t, l, "c")
		synctest.Wait()
		select {
		case got := <-read:
			t.Fatalf("read %q of the topic that went", got)
		default:
		}
		if err := r.Add(l, fairlead.Latest); err != nil {
			t.Fatal(err)
		}
		publish(t, l, "d")
		if got := <-read; got != "d" {
			t.Fatalf("read %q of the topic that came back", got)
		}
	})
}

func TestARemovedTopicLeavesNothingBehindInItsReader(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 2, topic.Policy{Deliver: topic.LatestPerKey, Rate: 1.0 / 3600})
	for range 2 { // the second time each is held back by the rate
		for _, l := range ls {
			publish(t, l, "a b")
		}
	}
	if got := len(drain(r)); got != 2 {
		t.Fatalf("read %d events, want one of each topic", got)
	}
	r.Remove(ls[0])
	if err := r.Add(ls[0], fairlead.Latest); err != nil {
		t.Fatal(err)
	}
	publish(t, ls[0], "c")
	want(t, r, "c")
}

func TestAClosedReaderTakesNoMoreTopics(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 1, topic.Policy{})
	publish(t, ls[0], "a")
	r.Close()
	r.Close()
	want(t, r, "")
	wantCode(t, r.Add(ls[0], fairlead.Earliest), fairlead.Cancelled)
	if s := ls[0].Stats(); s.Readers != 0 {
		t.Errorf("%d readers of a log that nobody reads", s.Readers)
	}
}

func TestAddAndRemoveMayRace(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 4, topic.Policy{})
	var wg sync.WaitGroup
	for _, l := range ls {
		for range 2 {
			wg.Go(func() {
				for range 300 {
					_ = r.Remove(l)
					_ = r.Add(l, fairlead.Earliest) // a conflict when the other was faster
				}
			})
		}
		wg.Go(func() {
			for range 300 {
				if _, err := l.Append(t.Context(), topic.Batch{Events: events("a")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	stop := make(chan struct{})
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		buf := make([]topic.Item, 10)
		for {
			r.Poll(buf)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-polled
	r.Close()
	for _, l := range ls {
		if s := l.Stats(); s.Readers != 0 {
			t.Errorf("%d readers stay attached to %s", s.Readers, s.Name)
		}
	}
}

func TestStatusTellsWhereAReaderStands(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a b c")
	r := read(t, l, fairlead.Earliest)
	buf := make([]topic.Item, 1)
	r.Poll(buf)
	if s := r.Status(); len(s) != 1 || s[0] != (topic.Status{Topic: "n", Cursor: buf[0].Cursor, Lag: 2, LagBytes: 2}) {
		t.Errorf("status %+v", s)
	}
}

func TestTheLagInBytesIsOfWhatIsRetained(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 3})
	r := read(t, l, fairlead.Earliest)
	lag := func(want uint64) {
		t.Helper()
		if got := r.Status()[0].LagBytes; got != want {
			t.Errorf("the lag is %d bytes, want %d", got, want)
		}
	}
	lag(0)
	publish(t, l, "a bb ccc")
	lag(6)
	publish(t, l, "dddd")
	lag(9) // a has gone
	drain(r)
	lag(0)
	publish(t, l, "eeeee")
	lag(5)
	publish(t, l, "f g")
	lag(7)
}

func TestTenThousandTopicsNeedNoGoroutine(t *testing.T) {
	// Not parallel: it counts goroutines.
	before := runtime.NumGoroutine()
	ls, r := logs(t, 10_000, topic.Policy{})
	drain(r)
	for _, l := range ls {
		publish(t, l, "a")
	}
	if got := len(drain(r)); got != 10_000 {
		t.Errorf("read %d events", got)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines more", now-before)
	}
}

func TestManyTopicsEachKeepTheirOwnPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ls, r := logs(t, 3, topic.Policy{Deliver: topic.Newest, Newest: 10, Rate: 1})
		for i, l := range ls {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			publish(t, l, "a b")
			want(t, r, "a")
		}
		start, buf := time.Now(), make([]topic.Item, 10)
		for i, wanted := range []int64{700, 800, 1000} { // published at -300, -200 and 0 ms
			n, err := r.Next(t.Context(), buf)
			if got := time.Since(start).Milliseconds(); err != nil || show(buf[:n]) != "b" || buf[0].Log != ls[i] || got != wanted {
				t.Fatalf("read %q of %s after %d ms, want that of %s after %d ms", show(buf[:n]), buf[0].Log.Name(), got, ls[i].Name(), wanted)
			}
		}
	})
}
