package observe

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// octets go from 1 byte to 16 MiB.
var octets = newScale(0, 24, 1, 1<<4, 1<<6, 1<<8, 1<<10, 1<<12, 1<<14, 1<<16, 1<<18, 1<<20)

// sort is a sort of messages.
type sort struct {
	transport, kind string
	sent            bool
}

func (s sort) direction() string {
	if s.sent {
		return "sent"
	}
	return "received"
}

// kindEvent is the kind of events, which are messages here alone.
const kindEvent = "event"

// sizes are the sizes of messages by their sort.
type sizes struct {
	desc *prometheus.Desc
	of   sync.Map // of *cells, by sort
}

func newSizes() *sizes {
	return &sizes{desc: prometheus.NewDesc("fairlead_message_size_bytes",
		"How large messages of readers' connections are, events among them; of events that go together each counts as their mean.",
		[]string{transportLabel, "kind", "direction"}, nil)}
}

// series returns the histogram of a sort, which is to be kept.
func (s *sizes) series(of sort) *cells {
	made := octets.histogram()
	found, _ := s.of.LoadOrStore(of, &made)
	return found.(*cells) //nolint:forcetypeassert // nothing else is in it
}

// Describe implements [prometheus.Collector].
func (s *sizes) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }

// Collect implements [prometheus.Collector].
func (s *sizes) Collect(ch chan<- prometheus.Metric) {
	for key, found := range s.of.Range {
		of, c := key.(sort), found.(*cells) //nolint:forcetypeassert // nothing else is in it
		direction := of.direction()
		ch <- collected{s.desc, []*dto.LabelPair{ // sorted by name, as a scrape is
			{Name: new("direction"), Value: &direction}, {Name: new("kind"), Value: &of.kind}, {Name: new(transportLabel), Value: &of.transport},
		}, c}
	}
}
