package upstream

import (
	"math"
	"slices"
	"sync/atomic"
)

// Histogram is a distribution at one moment, as Prometheus counts it.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, rising; the last bucket, which
	// has none, is not named.
	Bounds []float64 `json:"bounds"`
	// Counts are the observations in each bucket alone; one more than Bounds.
	Counts []uint64 `json:"counts"`
	Sum    float64  `json:"sum"`
	Count  uint64   `json:"count"`
}

var (
	// secondBounds reach from a connection that is ready to an answer that
	// people have long given up on; near 1, 3 and 5 s are a SYN that was lost
	// once, the queue's patience and that of a dial.
	secondBounds = []float64{50e-6, 200e-6, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3.5, 5.5, 15, 60}
	// ageBounds have one on each side of the default of MaxAge, ±10 %.
	ageBounds = []float64{1, 5, 15, 60, 300, 540, 660, 1800, 3600}
	// requestBounds begin with the connections that were made for nothing.
	requestBounds = []float64{0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000}
)

// histogram counts observations in fixed buckets. It is safe for concurrent
// use and takes no lock.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64
	sum    atomic.Uint64 // the bits of a float64
}

// newHistogram returns a histogram with these upper bounds, rising.
func newHistogram(bounds ...float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	for {
		was := h.sum.Load()
		if h.sum.CompareAndSwap(was, math.Float64bits(math.Float64frombits(was)+v)) {
			return
		}
	}
}

// snapshot returns what was observed. Beside observations under way, Sum may
// be off by theirs; Count is always that of Counts.
func (h *histogram) snapshot() Histogram {
	s := Histogram{Bounds: slices.Clone(h.bounds), Counts: make([]uint64, len(h.counts))}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
		s.Count += s.Counts[i]
	}
	s.Sum = math.Float64frombits(h.sum.Load())
	return s
}
