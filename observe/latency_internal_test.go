package observe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/prototext"
)

func TestALatencyIsCountedAsAHistogramOfPrometheusDoes(t *testing.T) {
	t.Parallel()
	options := histogramOptions("a", "b")
	options.NativeHistogramZeroThreshold, options.NativeHistogramMaxBucketNumber = cellBound(0), 0
	theirs := prometheus.NewHistogram(options)
	ours := newLatencies("a", "b", []string{"sse"})
	tell := func(took time.Duration) {
		theirs.Observe(took.Seconds())
		ours.of[0].known(took)
	}
	check := func() {
		t.Helper()
		ch := make(chan prometheus.Metric, 1)
		ours.Collect(ch)
		var want, got dto.Metric
		if theirs.Write(&want) != nil || (<-ch).Write(&got) != nil {
			t.Fatal("not written")
		}
		h, w := got.GetHistogram(), want.GetHistogram()
		if d := h.GetSampleSum() - w.GetSampleSum(); d > 1e-3 || d < -1e-3 {
			t.Errorf("the sum is %v, want %v", h.GetSampleSum(), w.GetSampleSum())
		}
		h.SampleSum, w.SampleSum, w.CreatedTimestamp = nil, nil, nil
		h.PositiveSpan, h.PositiveDelta = dense(h)
		w.PositiveSpan, w.PositiveDelta = dense(w)
		if g, w := prototext.Format(h), prototext.Format(w); g != w {
			t.Errorf("got %s\nwant %s", g, w)
		}
	}
	check()
	for _, bound := range buckets {
		at := time.Duration(bound * float64(time.Second))
		tell(at - 1)
		tell(at)
		tell(at + 1)
	}
	for i := range latencyCells {
		tell(time.Duration(cellBound(i) * 1.0001 * float64(time.Second))) // on a bound the last bit decides
	}
	tell(0)
	tell(1)
	check()
	for range 10_000 {
		tell(time.Duration(rand.Int64N(1 << (1 + rand.N(49)))))
	}
	check()
}

// dense writes buckets as one span, empty ones between them included.
func dense(h *dto.Histogram) ([]*dto.BucketSpan, []int64) {
	var counts []int64
	first, count := int32(0), int64(0)
	next := 0
	for i, span := range h.GetPositiveSpan() {
		if i == 0 {
			first = span.GetOffset()
		} else {
			counts = append(counts, make([]int64, span.GetOffset())...)
		}
		for range span.GetLength() {
			count += h.GetPositiveDelta()[next]
			counts = append(counts, count)
			next++
		}
	}
	if counts == nil {
		return nil, nil
	}
	return []*dto.BucketSpan{{Offset: &first, Length: new(uint32(len(counts)))}}, counts
}

func TestWhatTakesWeeksCountsAsTwelveDays(t *testing.T) {
	t.Parallel()
	l := new(latency)
	l.known(1 << 62)
	l.known(0)
	l.known(-1)
	if h := l.write(); h.GetSampleCount() != 2 || h.GetZeroCount() != 1 || h.GetPositiveSpan()[0].GetOffset() != highestOctave*octave {
		t.Errorf("%v", h)
	}
}
