package observe

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What is observed at each write to each reader, and at each request, is counted here:
// in cells of 2^(1/8) that are a native histogram as they are. A bound of the histograms
// of old divides its cell in two, so that what counts for one counts for the other: an
// addition is to a cell, and one to the sum. It takes a third of what a
// prometheus.Histogram does.
const (
	cellSchema = 3 // 2^3 cells an octave
	octave     = 1 << cellSchema
)

// scale is what the histograms of a unit count in.
type scale struct {
	// Native histograms have a bucket for what is next to nothing, up to 2^lowest. What
	// is more than 2^highest counts as that.
	lowest, highest int
	bounds          []float64 // of the histograms of old
	quantum         float64   // what sums are kept in
	// divided says of each cell how many bounds are below it, and which is within.
	divided []division
}

type division struct {
	below  int
	within float64 // +Inf: none
}

// newScale returns a scale; lowest and highest are powers of 2.
func newScale(lowest, highest int, quantum float64, bounds ...float64) *scale {
	s := &scale{lowest: lowest, highest: highest, bounds: bounds, quantum: quantum, divided: make([]division, 1+(highest-lowest)*octave)}
	for i := range s.divided {
		at := &s.divided[i]
		at.within = math.Inf(1)
		low, high := s.bound(i-1), s.bound(i)
		for _, bound := range bounds {
			switch {
			case bound <= low:
				at.below++
			case bound < high:
				at.within = bound
			}
		}
	}
	return s
}

// bound is the upper bound of a cell; 0 is the one of next to nothing.
func (s *scale) bound(i int) float64 {
	if i < 0 {
		return 0
	}
	return math.Exp2(float64(s.lowest) + float64(i)/octave)
}

// steps are the upper bounds of the cells of an octave, which ends at 1.
var steps = func() (all [octave]float64) {
	for i := range all {
		all[i] = math.Exp2(float64(i+1)/octave - 1)
	}
	return all
}()

// cell returns the cell of a value.
func (s *scale) cell(value float64) int {
	fraction, exponent := math.Frexp(value) // from 1/2 up to 1
	if exponent > s.highest {
		return len(s.divided) - 1
	}
	i := 1 + (exponent-1-s.lowest)*octave
	if i < 1 || value <= 0 {
		return 0
	}
	if fraction == 0.5 {
		return i - 1 // a bound belongs to what is below it
	}
	step := 0
	if fraction > steps[3] {
		step = 4
	}
	if fraction > steps[step+1] {
		step += 2
	}
	if fraction > steps[step] {
		step++
	}
	return i + step
}

// cells are a histogram. They are safe for concurrent use.
type cells struct {
	of        *scale
	count     []atomic.Uint64
	sum       atomic.Int64                          // in quanta
	exemplars []atomic.Pointer[prometheus.Exemplar] // by the buckets of old, the last of what is beyond the bounds
}

func (s *scale) histogram() *cells {
	return &cells{of: s, count: make([]atomic.Uint64, len(s.divided)+len(s.bounds)), exemplars: make([]atomic.Pointer[prometheus.Exemplar], len(s.bounds)+1)}
}

// add counts so many of a value, which are so many quanta together, and returns its
// bucket of old.
func (c *cells) add(value float64, n uint64, quanta int64) (bucket int) {
	i := c.of.cell(value)
	at := &c.of.divided[i]
	bucket = at.below
	if value > at.within {
		bucket++
	}
	c.count[i+bucket].Add(n)
	c.sum.Add(quanta)
	return bucket
}

// took counts a duration, and returns its bucket of old. What is longer than the scale
// adds no more than that to the sum, which lasts for eight million of those at least.
func (c *cells) took(d time.Duration) (bucket int) {
	seconds := d.Seconds()
	return c.add(seconds, 1, int64(math.Round(min(seconds, math.Exp2(float64(c.of.highest)))/c.of.quantum)))
}

// known counts a duration unless it is negative, which is that none is known.
func (c *cells) known(d time.Duration) {
	if d >= 0 {
		c.took(d)
	}
}

// write returns what was counted.
func (c *cells) write() *dto.Histogram {
	h := &dto.Histogram{
		Schema: new(int32(cellSchema)), ZeroThreshold: new(c.of.bound(0)), SampleSum: new(float64(c.sum.Load()) * c.of.quantum),
	}
	var total, before, zero uint64
	last := math.MinInt32 // cell
	var span *dto.BucketSpan
	for i := range c.of.divided {
		at := &c.of.divided[i]
		count := c.count[i+at.below].Load()
		if !math.IsInf(at.within, 1) {
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(total + count), UpperBound: new(at.within)})
			count += c.count[i+at.below+1].Load()
		}
		total += count
		if slices.Contains(c.of.bounds, c.of.bound(i)) {
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(total), UpperBound: new(c.of.bound(i))})
		}
		switch {
		case i == 0:
			zero = count
		case count > 0:
			if i != last+1 {
				key := i + c.of.lowest*octave
				if span != nil {
					key = i - last - 1
				}
				span = &dto.BucketSpan{Offset: new(int32(key)), Length: new(uint32(0))} //nolint:gosec // small
				h.PositiveSpan = append(h.PositiveSpan, span)
			}
			span.Length = new(span.GetLength() + 1)
			h.PositiveDelta = append(h.PositiveDelta, int64(count-before)) //nolint:gosec // a difference
			last, before = i, count
		}
	}
	h.ZeroCount, h.SampleCount = new(zero), new(total)
	return h
}

// examples returns the exemplars, in the order of their values.
func (c *cells) examples() (all []prometheus.Exemplar) {
	for i := range c.exemplars {
		if e := c.exemplars[i].Load(); e != nil {
			all = append(all, *e)
		}
	}
	return all
}
