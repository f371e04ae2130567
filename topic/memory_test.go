package topic_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// heap returns the bytes that are reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one's finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// fill makes n topics, each by an append of one small event.
func fill(tb testing.TB, s *topic.Store, n int) {
	for i := range n {
		_, err := s.Append(tb.Context(), "sensors/"+strconv.Itoa(i), topic.Batch{Events: []fairlead.Event{{Data: []byte("21.5")}}})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// An idle topic has had events and retains none; its name and its place in the
// store's map are counted too.
func TestAnIdleTopicCostsAtMost600Bytes(t *testing.T) {
	const n = 100_000
	synctest.Test(t, func(t *testing.T) {
		before := heap()
		s := topic.NewStore(topic.StoreConfig{})
		fill(t, s, n)
		busy := (heap() - before) / n
		time.Sleep(topic.DefaultAge)
		for l := range s.All() {
			l.Bounds() // looks at the age
		}
		idle := (heap() - before) / n
		t.Logf("%d bytes a topic with one small event, %d bytes an idle one", busy, idle)
		if idle > 600 {
			t.Errorf("an idle topic costs %d bytes, want at most 600", idle)
		}
		if evicted := s.Sweep(); evicted != n {
			t.Errorf("%d of %d idle topics evicted", evicted, n)
		}
		runtime.KeepAlive(s)
	})
}

func TestAnIdleReaderOfATopicCostsAtMost300Bytes(t *testing.T) {
	// Not parallel: it measures what all goroutines allocate.
	b := idleReaderBytes(t, 10_000)
	t.Logf("%.0f bytes a reader", b)
	if b > 300 {
		t.Errorf("a reader costs %.0f bytes, want at most 300", b)
	}
}

func TestPollingOneTopicAllocatesNothing(t *testing.T) {
	// Not parallel: it measures what all goroutines allocate.
	l := topic.New("n", topic.Policy{})
	publish(t, l, strings.Repeat("a ", 200))
	r := topic.NewWokenReader(new(counter))
	defer r.Close()
	if err := r.Add(l, fairlead.Earliest); err != nil {
		t.Fatal(err)
	}
	buf := make([]topic.Item, 1)
	if n := testing.AllocsPerRun(100, func() { r.PollSome(buf, 1<<20) }); n != 0 {
		t.Errorf("a poll allocates %v times", n)
	}
}
