package topic_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// flag is a waker that notes that it was woken.
type flag struct{ woken atomic.Bool }

func (f *flag) Wake() { f.woken.Swap(true) }

// woken returns n readers of l that have read all of it, and their wakers.
func woken(tb testing.TB, l *topic.Log, n int) ([]*topic.Reader, []flag) {
	tb.Helper()
	readers, flags := make([]*topic.Reader, n), make([]flag, n)
	buf := make([]topic.Item, 1)
	for i := range readers {
		readers[i] = topic.NewWokenReader(&flags[i])
		if err := readers[i].Add(l, fairlead.Latest); err != nil {
			tb.Fatal(err)
		}
		readers[i].Poll(buf)
		flags[i].woken.Store(false)
	}
	return readers, flags
}

// idleReaderBytes measures what a reader of one log takes of the heap when it
// has read all, its place in the log included.
func idleReaderBytes(tb testing.TB, n int) float64 {
	tb.Helper()
	l := topic.New("n", topic.Policy{})
	readers, f, buf := make([]*topic.Reader, n), new(flag), make([]topic.Item, 1)
	batch := topic.Batch{Events: []fairlead.Event{{Data: []byte("21.5")}}}
	before := heap()
	for i := range readers {
		readers[i] = topic.NewWokenReader(f)
		if err := readers[i].Add(l, fairlead.Latest); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := l.Append(tb.Context(), batch); err != nil {
		tb.Fatal(err)
	}
	for _, r := range readers {
		if r.Poll(buf) != 1 {
			tb.Fatal("nothing to read")
		}
		r.Poll(buf)
	}
	clear(buf)
	after := heap()
	runtime.KeepAlive(readers)
	runtime.KeepAlive(l)
	return float64(after-before) / float64(n)
}

// BenchmarkIdleReader reports what each of ten thousand readers of a topic
// costs, and how long one takes to come, to read an event and to leave.
func BenchmarkIdleReader(b *testing.B) {
	b.Run("bytes", func(b *testing.B) {
		total, times := 0.0, 0
		for b.Loop() {
			total += idleReaderBytes(b, 10_000)
			times++
		}
		b.ReportMetric(total/float64(times), "B/reader")
	})
	b.Run("lifetime", func(b *testing.B) {
		l := topic.New("n", topic.Policy{})
		if _, err := l.Append(b.Context(), topic.Batch{Events: events("a")}); err != nil {
			b.Fatal(err)
		}
		f, buf := new(flag), make([]topic.Item, 1)
		b.ReportAllocs()
		for b.Loop() {
			r := topic.NewWokenReader(f)
			if err := r.Add(l, fairlead.Earliest); err != nil || r.Poll(buf) != 1 {
				b.Fatal(err)
			}
			r.Close()
		}
	})
}

// BenchmarkNotify appends one event to a topic with woken readers, and reports
// the time that the append takes for each of them: when all have read what was
// before, so that each is woken, and when none has read since it was woken.
func BenchmarkNotify(b *testing.B) {
	for _, n := range []int{1, 1000, 10_000} {
		for _, idle := range []bool{true, false} {
			state := map[bool]string{true: "idle", false: "woken"}[idle]
			b.Run(fmt.Sprintf("%s/readers=%d", state, n), func(b *testing.B) {
				l := topic.New("n", topic.Policy{Events: 100})
				readers, flags := woken(b, l, n)
				batch := topic.Batch{Events: []fairlead.Event{{Data: []byte("21.5")}}}
				buf := make([]topic.Item, 2)
				took, appends := time.Duration(0), 0
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					if _, err := l.Append(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
					took += time.Since(start)
					appends++
					if !idle {
						continue
					}
					for i, r := range readers {
						if flags[i].woken.Store(false); r.Poll(buf) != 1 {
							b.Fatal("a reader was passed over")
						}
					}
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(appends*n), "ns/reader")
			})
		}
	}
}

// BenchmarkPollOne polls for the one event that was appended since the last
// poll, for each of a thousand readers in turn; the appends are not counted.
func BenchmarkPollOne(b *testing.B) {
	const n = 1000
	l := topic.New("n", topic.Policy{Events: 100})
	readers, _ := woken(b, l, n)
	batch := topic.Batch{Events: []fairlead.Event{{Data: []byte("21.5")}}}
	buf := make([]topic.Item, 16)
	took, appends := time.Duration(0), 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		for _, r := range readers {
			if got, _, _ := r.PollSome(buf, 1<<20); got != 1 {
				b.Fatal(got)
			}
		}
		took += time.Since(start)
		appends++
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(appends*n), "ns/poll")
}
