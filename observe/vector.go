package observe

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The scales of what is counted often.
var (
	seconds  = newScale(-17, 20, 1e-6, buckets...)                                                   // from 7.6 µs to twelve days
	ages     = newScale(-17, 20, 1e-3, buckets...)                                                   // the same, of what publishers say
	silences = newScale(-17, 20, 1e-6, .01, .1, .5, 1, 2.5, 5, 10, 15, 30, 60, 75, 120, 300)         // the same, of idle connections
	octets   = newScale(0, 24, 1, 1<<4, 1<<6, 1<<8, 1<<10, 1<<12, 1<<14, 1<<16, 1<<18, 1<<20, 1<<22) // from 1 byte to 16 MiB
)

// maxLabels is how many a vector has at most.
const maxLabels = 3

// vector is a family of histograms that are counted in cells. It is safe for
// concurrent use.
type vector struct {
	desc  *prometheus.Desc
	scale *scale
	names []string // of labels
	order []int    // of names, by which a scrape sorts them
	of    sync.Map // of *cells, by their values: [maxLabels]string; as many as the labels have, which are bounded
}

func newVector(s *scale, name, help string, names ...string) *vector {
	if len(names) > maxLabels {
		panic("observe: " + name + " has more labels than a vector can have")
	}
	v := &vector{desc: prometheus.NewDesc(name, help, names, nil), scale: s, names: names}
	for i := range names {
		v.order = append(v.order, i)
	}
	slices.SortFunc(v.order, func(a, b int) int { return strings.Compare(names[a], names[b]) })
	return v
}

// with returns the histogram that has these values of the labels, which is to be kept
// by who counts often.
func (v *vector) with(values ...string) *cells {
	var key [maxLabels]string
	copy(key[:], values)
	if found, ok := v.of.Load(key); ok {
		return found.(*cells) //nolint:forcetypeassert // nothing else is in it
	}
	made, _ := v.of.LoadOrStore(key, v.scale.histogram())
	return made.(*cells) //nolint:forcetypeassert // nothing else is in it
}

// Describe implements [prometheus.Collector].
func (v *vector) Describe(ch chan<- *prometheus.Desc) { ch <- v.desc }

// Collect implements [prometheus.Collector].
func (v *vector) Collect(ch chan<- prometheus.Metric) {
	for values, found := range v.of.Range {
		one := collected{desc: v.desc, cells: found.(*cells)} //nolint:forcetypeassert // nothing else is in it
		for _, i := range v.order {
			one.labels = append(one.labels, &dto.LabelPair{Name: &v.names[i], Value: new(values.([maxLabels]string)[i])}) //nolint:forcetypeassert // as above
		}
		ch <- one.exemplified()
	}
}

// collected is one of a family at a scrape.
type collected struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	cells  *cells
}

// exemplified adds the exemplars.
func (c collected) exemplified() prometheus.Metric {
	if all := c.cells.examples(); len(all) > 0 {
		if m, err := prometheus.NewMetricWithExemplars(c, all...); err == nil { // it fails for labels that are none
			return m
		}
	}
	return c
}

// Desc implements [prometheus.Metric].
func (c collected) Desc() *prometheus.Desc { return c.desc }

// Write implements [prometheus.Metric].
func (c collected) Write(m *dto.Metric) error {
	m.Label, m.Histogram = c.labels, c.cells.write()
	return nil
}
