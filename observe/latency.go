package observe

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Durations that are observed at each write to each reader are counted here: in cells
// of 2^(1/8) that are a native histogram as they are. A bound of the histograms of old
// divides its cell in two, so that one addition counts for both. It takes a third of
// what a prometheus.Histogram does.
const (
	latencySchema = 3 // 2^3 cells an octave
	octave        = 1 << latencySchema
	// Native histograms have a bucket for what is next to nothing: here 2^-17 s, 7.6 µs.
	lowestOctave = -17
	// What takes longer than 2^20 s, twelve days, counts as that.
	highestOctave = 20
	latencyCells  = (highestOctave - lowestOctave) * octave
)

// latency is a histogram of durations, of one transport.
type latency struct {
	transport string
	cells     [1 + latencyCells + 15]atomic.Uint64 // 15: len(buckets)
	sum       atomic.Int64                         // nanoseconds
}

// steps are the upper bounds of the cells of an octave, which ends at 1.
var steps = func() (all [octave]float64) {
	for i := range all {
		all[i] = math.Exp2(float64(i+1)/octave - 1)
	}
	return all
}()

// divided says of each cell how many bounds of buckets are below it, and which is
// within.
var divided = func() (all [1 + latencyCells]struct {
	below  int
	within float64 // +Inf: none
}) {
	for i := range all {
		all[i].within = math.Inf(1)
		low, high := cellBound(i-1), cellBound(i)
		for _, bound := range buckets {
			switch {
			case bound <= low:
				all[i].below++
			case bound < high:
				all[i].within = bound
			}
		}
	}
	return all
}()

// cellBound is the upper bound of a cell, in seconds; 0 is the one of next to nothing.
func cellBound(i int) float64 {
	if i < 0 {
		return 0
	}
	return math.Exp2(lowestOctave + float64(i)/octave)
}

// cellOf returns the cell of so many seconds.
func cellOf(seconds float64) int {
	if seconds <= 1.0/(1<<-lowestOctave) {
		return 0
	}
	fraction, exponent := math.Frexp(seconds) // from 1/2 up to 1
	if exponent > highestOctave {
		return latencyCells
	}
	i := 1 + (exponent-1-lowestOctave)*octave
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

// known counts a duration unless it is negative, which is that none is known.
func (l *latency) known(took time.Duration) {
	if took < 0 {
		return
	}
	seconds := took.Seconds()
	i := cellOf(seconds)
	at := &divided[i]
	i += at.below
	if seconds > at.within {
		i++
	}
	l.cells[i].Add(1)
	l.sum.Add(int64(took))
}

// write returns what was counted.
func (l *latency) write() *dto.Histogram {
	h := &dto.Histogram{
		Schema: new(int32(latencySchema)), ZeroThreshold: new(cellBound(0)), SampleSum: new(time.Duration(l.sum.Load()).Seconds()),
	}
	var total, before, zero uint64
	last := math.MinInt32 // cell
	var span *dto.BucketSpan
	for i := range divided {
		at := &divided[i]
		count := l.cells[i+at.below].Load()
		if !math.IsInf(at.within, 1) {
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(total + count), UpperBound: new(at.within)})
			count += l.cells[i+at.below+1].Load()
		}
		total += count
		if slices.Contains(buckets, cellBound(i)) { // of which there is 1
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: new(total), UpperBound: new(cellBound(i))})
		}
		switch {
		case i == 0:
			zero = count
		case count > 0:
			if i != last+1 {
				key := i + lowestOctave*octave
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

// latencies are a family of them, by transport.
type latencies struct {
	desc *prometheus.Desc
	of   []latency
}

func newLatencies(name, help string, transports []string) *latencies {
	f := &latencies{prometheus.NewDesc(name, help, []string{transportLabel}, nil), make([]latency, len(transports))}
	for i, name := range transports {
		f.of[i].transport = name
	}
	return f
}

const transportLabel = "transport"

// Describe implements [prometheus.Collector].
func (f *latencies) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements [prometheus.Collector].
func (f *latencies) Collect(ch chan<- prometheus.Metric) {
	for i := range f.of {
		ch <- collected{f.desc, &f.of[i]}
	}
}

// collected is one of a family at a scrape.
type collected struct {
	desc *prometheus.Desc
	*latency
}

// Desc implements [prometheus.Metric].
func (c collected) Desc() *prometheus.Desc { return c.desc }

// Write implements [prometheus.Metric].
func (c collected) Write(m *dto.Metric) error {
	m.Label = []*dto.LabelPair{{Name: new(transportLabel), Value: &c.transport}}
	m.Histogram = c.write()
	return nil
}
