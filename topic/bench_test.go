package topic_test

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// BenchmarkMillionTopics reports what each of a million topics costs, while it
// retains one small event and when that is gone, and how long creating (with
// its first append) and evicting one takes.
func BenchmarkMillionTopics(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		before := heap()
		s := topic.NewStore(topic.StoreConfig{})
		start := time.Now()
		fill(b, s, n)
		created := time.Since(start)
		busy := heap() - before
		s.Reload(func(string) topic.Policy { return topic.Policy{Age: time.Nanosecond} }) // all is due, nothing evicted yet
		idle := heap() - before
		start = time.Now()
		if evicted := s.Sweep(); evicted != n {
			b.Fatalf("%d of %d evicted", evicted, n)
		}
		evicted := time.Since(start)
		b.ReportMetric(float64(busy)/n, "B/topic")
		b.ReportMetric(float64(idle)/n, "B/idle-topic")
		b.ReportMetric(float64(created.Nanoseconds())/n, "create-ns/topic")
		b.ReportMetric(float64(evicted.Nanoseconds())/n, "evict-ns/topic")
		b.ReportMetric(float64((created+evicted).Nanoseconds())/n, "ns/topic")
		runtime.KeepAlive(s)
	}
}

// BenchmarkAppend appends one event; each of the readers is woken, and none of
// them reads meanwhile.
func BenchmarkAppend(b *testing.B) {
	for _, readers := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			l := topic.New("n", topic.Policy{})
			for range readers {
				r := topic.NewReader()
				defer r.Close()
				if err := r.Add(l, fairlead.Latest); err != nil {
					b.Fatal(err)
				}
				r.Poll(make([]topic.Item, 1))
			}
			batch := topic.Batch{Events: []fairlead.Event{{Data: []byte("21.5")}}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTwinAppend is the plain twin of BenchmarkAppend without readers: a
// slice behind a mutex, of which the latest ten thousand are kept.
func BenchmarkTwinAppend(b *testing.B) {
	var mu sync.Mutex
	var log []*fairlead.Event
	b.ReportAllocs()
	for b.Loop() {
		e := &fairlead.Event{Data: []byte("21.5"), Time: time.Now()}
		mu.Lock()
		log = append(log, e)
		if len(log) > topic.DefaultEvents {
			log = log[1:]
		}
		mu.Unlock()
	}
}

// BenchmarkRead100 reads a hundred retained events, from attaching to leaving.
func BenchmarkRead100(b *testing.B) {
	l := topic.New("n", topic.Policy{})
	batch := topic.Batch{Events: make([]fairlead.Event, 100)}
	if _, err := l.Append(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	attachAndRead(b, l)
}

// attachAndRead attaches to l, reads the hundred events that it delivers, and
// leaves.
func attachAndRead(b *testing.B, l *topic.Log) {
	b.Helper()
	buf := make([]topic.Item, 100)
	b.ReportAllocs()
	for b.Loop() {
		r := topic.NewReader()
		if err := r.Add(l, fairlead.Earliest); err != nil {
			b.Fatal(err)
		}
		if n := r.Poll(buf); n != 100 {
			b.Fatal(n)
		}
		r.Close()
	}
}

// BenchmarkTwinRead100 is the plain twin of BenchmarkRead100: a copy of a slice
// under a mutex.
func BenchmarkTwinRead100(b *testing.B) {
	var mu sync.Mutex
	log, buf := make([]*fairlead.Event, 100), make([]*fairlead.Event, 100)
	b.ReportAllocs()
	for b.Loop() {
		mu.Lock()
		copy(buf, log)
		mu.Unlock()
	}
}

// BenchmarkReadLatestPerKey reads ten thousand ticks of a hundred keys, of
// which a hundred are delivered.
func BenchmarkReadLatestPerKey(b *testing.B) {
	l := topic.New("n", topic.Policy{Deliver: topic.LatestPerKey})
	for i := range topic.DefaultEvents {
		e := fairlead.Event{Key: strconv.Itoa(i % 100)}
		if _, err := l.Append(b.Context(), topic.Batch{Events: []fairlead.Event{e}}); err != nil {
			b.Fatal(err)
		}
	}
	attachAndRead(b, l)
}
