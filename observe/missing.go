package observe

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// missing are the families of what readers are told that they are not given.
type missing struct {
	skipped, gaps          *prometheus.CounterVec
	passed, told, lost     *prometheus.CounterVec
	ofTransports, ofTopics *sync.Map // their series, by transport, and by topics and policy
}

// missed has the series of one of either.
type missed struct{ skipped, gaps, lost prometheus.Counter }

// topicsOf is whose series they are.
type topicsOf struct{ pattern, policy string }

func newMissing() missing {
	return missing{
		skipped: counter("fairlead_events_skipped_total", "Events that delivery policies passed over, as told to readers.", "transport"),
		gaps:    counter("fairlead_gaps_total", "Gaps told to readers.", "transport"),
		passed: counter("fairlead_topic_events_skipped_total",
			"Events that delivery policies passed over, as told to readers, by the pattern of the topic and its policy.", "topics", "policy"),
		told: counter("fairlead_topic_gaps_total", "Gaps told to readers, by the pattern of the topic.", "topics"),
		lost: counter("fairlead_topic_events_lost_total",
			"Events that a reader was too late for, as they were no longer retained: of the gaps of which that is known.", "topics"),
		ofTransports: new(sync.Map), ofTopics: new(sync.Map),
	}
}

func (s *missing) all() []prometheus.Collector {
	return []prometheus.Collector{s.skipped, s.gaps, s.passed, s.told, s.lost}
}

// Missed is what a reader was told to have missed.
type Missed struct {
	Transport string
	Topics    string // pattern of the topic
	Policy    string // its policy's name, of few values
	Skipped   uint64 // events that this passed over
	Gap       bool
	Lost      uint64 // of the gap, events
}

// Missed counts it.
func (m *Metrics) Missed(e Missed) {
	m.missing.transport(e.Transport).add(&e)
	m.missing.topics(topicsOf{e.Topics, e.Policy}).add(&e)
}

func (s *missing) transport(name string) *missed {
	if found, ok := s.ofTransports.Load(name); ok {
		return found.(*missed) //nolint:forcetypeassert // nothing else is in it
	}
	made, _ := s.ofTransports.LoadOrStore(name, &missed{skipped: s.skipped.WithLabelValues(name), gaps: s.gaps.WithLabelValues(name)})
	return made.(*missed) //nolint:forcetypeassert // nothing else is in it
}

func (s *missing) topics(of topicsOf) *missed {
	if found, ok := s.ofTopics.Load(of); ok {
		return found.(*missed) //nolint:forcetypeassert // nothing else is in it
	}
	made, _ := s.ofTopics.LoadOrStore(of, &missed{
		s.passed.WithLabelValues(of.pattern, of.policy), s.told.WithLabelValues(of.pattern), s.lost.WithLabelValues(of.pattern),
	})
	return made.(*missed) //nolint:forcetypeassert // nothing else is in it
}

func (s *missed) add(e *Missed) {
	if e.Skipped > 0 {
		s.skipped.Add(float64(e.Skipped))
	}
	if e.Gap {
		s.gaps.Inc()
	}
	if e.Lost > 0 && s.lost != nil {
		s.lost.Add(float64(e.Lost))
	}
}
