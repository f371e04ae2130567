package observe

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/prototext"
)

func TestWhatIsCountedIsAHistogramOfPrometheus(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*scale{"seconds": seconds, "ages": ages, "silences": silences, "octets": octets} {
		options := histogramOptions("a", "b")
		options.Buckets, options.NativeHistogramZeroThreshold, options.NativeHistogramMaxBucketNumber = s.bounds, s.bound(0), 0
		theirs, ours := prometheus.NewHistogram(options), s.histogram()
		tell := func(quanta int64, n int) {
			value := float64(quanta) * s.quantum
			if s != octets {
				value = time.Duration(quanta).Seconds() // as it is told, to the last bit
			}
			for range n {
				theirs.Observe(value)
				if s != octets {
					ours.took(time.Duration(quanta))
				}
			}
			if s == octets {
				ours.add(value, uint64(n), quanta*int64(n)) //nolint:gosec // few
			}
		}
		check := func() {
			t.Helper()
			var want dto.Metric
			if err := theirs.Write(&want); err != nil {
				t.Fatal(err)
			}
			h, w := ours.write(), want.GetHistogram()
			if d := h.GetSampleSum() - w.GetSampleSum(); math.Abs(d) > 1e-3+s.quantum*float64(w.GetSampleCount()) {
				t.Errorf("%s: the sum is %v, want %v", name, h.GetSampleSum(), w.GetSampleSum())
			}
			h.SampleSum, w.SampleSum, w.CreatedTimestamp = nil, nil, nil
			h.PositiveSpan, h.PositiveDelta = dense(h)
			w.PositiveSpan, w.PositiveDelta = dense(w)
			if g, w := prototext.Format(h), prototext.Format(w); g != w {
				t.Errorf("%s: got %s\nwant %s", name, g, w)
			}
		}
		check()
		for _, bound := range s.bounds {
			at := int64(bound/s.quantum + 0.5)
			tell(at-1, 1)
			tell(at, 2)
			tell(at+1, 1)
		}
		for i := range len(s.divided) - 1 {
			tell(int64(s.bound(i)/s.quantum*1.0001), 1) // on a bound the last bit decides
		}
		tell(0, 1)
		tell(1, 3)
		check()
		most := s.bound(len(s.divided)-1) / s.quantum
		for range 10_000 {
			tell(rand.Int64N(int64(most))>>rand.N(40), 1)
		}
		check()
	}
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
	l := seconds.histogram()
	l.known(1 << 62)
	l.known(0)
	l.known(-1)
	for range 100_000 {
		l.known(math.MaxInt64)
	}
	if sum := l.write().GetSampleSum(); sum != 100_001*(1<<20) {
		t.Errorf("the sum is %v", sum)
	}
	if h := l.write(); h.GetSampleCount() != 100_002 || h.GetZeroCount() != 1 || h.GetPositiveSpan()[0].GetOffset() != 20*octave {
		t.Errorf("%v", h)
	}
}

func TestExemplarsStandInTheirBuckets(t *testing.T) {
	t.Parallel()
	v := newVector(seconds, "fairlead_x_seconds", "Of a test.", "route")
	c := v.with("/a")
	for name, took := range map[string]time.Duration{"short": 4 * time.Millisecond, "bound": time.Second, "long": 90 * time.Second} {
		c.exemplars[c.took(took)].Store(&prometheus.Exemplar{Value: took.Seconds(), Labels: prometheus.Labels{"trace_id": name}, Timestamp: time.Now()})
	}
	c.took(3 * time.Millisecond)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(v)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := all[0].GetMetric()[0].GetHistogram()
	found := make(map[float64]string)
	for _, b := range h.GetBucket() {
		if e := b.GetExemplar(); e != nil {
			found[b.GetUpperBound()] = e.GetLabel()[0].GetValue()
		}
	}
	if want := map[float64]string{.005: "short", 1: "bound", math.Inf(1): "long"}; !maps.Equal(found, want) {
		t.Errorf("the exemplars are %v, want %v", found, want)
	}
	if last := h.GetBucket()[len(buckets)]; last.GetCumulativeCount() != 4 || len(h.GetExemplars()) != 3 {
		t.Errorf("%v", h)
	}
	if q := quantile(h, .99); q != 60 {
		t.Errorf("the 99th percentile is %v", q)
	}
}

func TestAVectorHasASeriesForEachOfItsLabels(t *testing.T) {
	t.Parallel()
	v := newVector(octets, "fairlead_x_bytes", "Of a test.", "z", "a")
	v.with("1", "2").add(5, 1, 5)
	v.with("1", "2").add(7, 2, 14)
	v.with("2", "1").add(1, 1, 1)
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(v)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all[0].GetMetric() {
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		got = append(got, strconv.FormatUint(m.GetHistogram().GetSampleCount(), 10))
	}
	if want := []string{"a=1", "z=2", "1", "a=2", "z=1", "3"}; len(all) != 1 || !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
