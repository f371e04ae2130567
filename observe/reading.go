package observe

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-edge/fairlead"
)

// reading are the families of what goes to readers.
type reading struct {
	begun     *prometheus.CounterVec
	opening   *prometheus.HistogramVec
	events    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	typed     *prometheus.CounterVec
	typedSize *prometheus.CounterVec
	first     *vector
	gaps      *vector
	delays    *vector
	ages      *vector
	messages  *prometheus.CounterVec
	size      *prometheus.CounterVec
	sizes     *vector
	answers   *prometheus.HistogramVec
	echoes    *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	failed    *prometheus.CounterVec
	transport map[string]*transport // made once
	sorts     *sync.Map             // of *messages, by sort
}

// transport has the series of one that each delivery adds to.
type transport struct {
	events, bytes                    prometheus.Counter
	first, gaps, delays, ages, sizes *cells
}

func newReading(transports []string) reading {
	s := reading{
		begun: counter("fairlead_subscriptions_total",
			"Subscriptions to topics, by whether from a cursor (not, cursor), and then again if there was a gap, or the cursor was of another life of the topic (unknown).",
			"transport", "from"),
		opening: histogram("fairlead_session_establishment_seconds",
			"From a session's request to its first byte: of an event stream, the answer to a WebSocket's handshake, or where a call's first subscription stands.", "transport"),
		events: counter("fairlead_events_delivered_total", "Events given to readers' connections.", "transport"),
		bytes:  counter("fairlead_event_bytes_total", "Bytes of them, as they are sent.", "transport"),
		typed: counter("fairlead_event_type_delivered_total",
			"The same by the type of the event: those of metrics.event_types, and other. None if that has none.", "transport", "type"),
		typedSize: counter("fairlead_event_type_data_bytes_total", "Bytes of their data.", "transport", "type"),
		first:     newVector(seconds, "fairlead_session_first_event_seconds", "From a session's request to its first event; it may be the wait for one.", "transport"),
		gaps:      newVector(seconds, "fairlead_event_gap_seconds", "From events given to a reader to the next ones, to a millisecond.", "transport"),
		delays: newVector(seconds, "fairlead_delivery_delay_seconds",
			"From an event's append to its being given to a reader's connection: of the oldest that go together, and without what is replayed.", "transport"),
		ages:     newVector(ages, "fairlead_event_age_seconds", "The same from the event's own time, where its publisher gave one.", "transport"),
		messages: counter("fairlead_messages_total", "Messages of readers' connections that are no events, by what they are and which way they go.", "transport", "kind", "direction"),
		size:     counter("fairlead_message_bytes_total", "Bytes of them.", "transport", "kind", "direction"),
		sizes: newVector(octets, "fairlead_message_size_bytes",
			"How large messages of readers' connections are, events among them; of events that go together each counts as their mean.", "transport", "kind", "direction"),
		answers: histogram("fairlead_message_answer_seconds", "From a message of a client to its answer.", "transport", "kind"),
		echoes:  histogram("fairlead_websocket_ping_seconds", "From a ping, or an event that was sent after it, to its pong."),
		refused: counter("fairlead_message_errors_total", "Messages of clients that were answered with an error, by its code.", "transport", "kind", "code"),
		sorts:   new(sync.Map),
		failed:  counter("fairlead_websocket_protocol_errors_total", "Connections whose client broke the protocol, by the code of the close.", "code"),
	}
	s.transport = make(map[string]*transport)
	for _, name := range transports {
		s.transport[name] = &transport{
			s.events.WithLabelValues(name), s.bytes.WithLabelValues(name),
			s.first.with(name), s.gaps.with(name), s.delays.with(name), s.ages.with(name), s.sizes.with(name, "event", sent),
		}
	}
	return s
}

func (s *reading) all() []prometheus.Collector {
	return []prometheus.Collector{
		s.begun, s.opening, s.events, s.bytes, s.typed, s.typedSize, s.first, s.gaps, s.delays, s.ages,
		s.messages, s.size, s.sizes, s.answers, s.echoes, s.refused, s.failed,
	}
}

// Delivery is what was given to a reader's connection at one time. Negative times are
// not known.
type Delivery struct {
	Transport     string // one of those that sessions have
	Events, Bytes int
	Delay, Age    time.Duration // of the oldest event: since its append, and its own time
	First         time.Duration // of a session's first events, since its request
	Gap           time.Duration // since the last byte before
}

// Delivered counts a delivery.
func (m *Metrics) Delivered(d Delivery) {
	t := m.reading.transport[d.Transport]
	if t == nil {
		return
	}
	t.events.Add(float64(d.Events))
	t.bytes.Add(float64(d.Bytes))
	t.sizes.add(float64(d.Bytes)/float64(d.Events), uint64(d.Events), int64(d.Bytes)) //nolint:gosec // not negative
	t.delays.known(d.Delay)
	t.ages.known(d.Age)
	t.first.known(d.First)
	t.gaps.known(d.Gap)
}

// Subscribed counts a subscription; from is of few values.
func (m *Metrics) Subscribed(transport, from string) {
	m.reading.begun.WithLabelValues(transport, from).Inc()
}

// Established counts a session that has its first byte.
func (m *Metrics) Established(transport string, took time.Duration) {
	m.reading.opening.WithLabelValues(transport).Observe(took.Seconds())
}

// Typed returns what counts events by their type, each call those of one. Types that
// are not among those given are other.
func (m *Metrics) Typed(types []string) func(transport, typ string, events, bytes int) {
	type series struct{ events, bytes prometheus.Counter }
	const other = "other"
	all := make(map[string]map[string]series)
	for transport := range m.reading.transport {
		all[transport] = make(map[string]series)
		for _, typ := range append([]string{other}, types...) {
			all[transport][typ] = series{m.reading.typed.WithLabelValues(transport, typ), m.reading.typedSize.WithLabelValues(transport, typ)}
		}
	}
	return func(transport, typ string, events, bytes int) {
		s, ok := all[transport][typ]
		if !ok {
			if s, ok = all[transport][other]; !ok {
				return
			}
		}
		s.events.Add(float64(events))
		s.bytes.Add(float64(bytes))
	}
}

// sort is a sort of messages.
type sort struct {
	transport, kind string
	sent            bool
}

// The directions of messages.
const sent, received = "sent", "received"

func (s sort) direction() string {
	if s.sent {
		return sent
	}
	return received
}

// messages are the series of a sort of them.
type messages struct {
	count, bytes prometheus.Counter
	sizes        *cells
}

// Message counts a message that is no event; kind is of few values.
func (m *Metrics) Message(transport, kind string, sent bool, size int) {
	s := m.reading.messagesOf(sort{transport, kind, sent})
	s.count.Inc()
	s.bytes.Add(float64(size))
	s.sizes.add(float64(size), 1, int64(size))
}

func (s *reading) messagesOf(of sort) *messages {
	if found, ok := s.sorts.Load(of); ok {
		return found.(*messages) //nolint:forcetypeassert // nothing else is in it
	}
	way := of.direction()
	made, _ := s.sorts.LoadOrStore(of, &messages{
		s.messages.WithLabelValues(of.transport, of.kind, way), s.size.WithLabelValues(of.transport, of.kind, way), s.sizes.with(of.transport, of.kind, way),
	})
	return made.(*messages) //nolint:forcetypeassert // nothing else is in it
}

// Refused counts a message of a client that was answered with an error.
func (m *Metrics) Refused(transport, kind string, code fairlead.Code) {
	m.reading.refused.WithLabelValues(transport, kind, string(code)).Inc()
}

// Answered counts the answer to a message of a client.
func (m *Metrics) Answered(transport, kind string, took time.Duration) {
	m.reading.answers.WithLabelValues(transport, kind).Observe(took.Seconds())
}

// Echoed counts a pong.
func (m *Metrics) Echoed(took time.Duration) {
	m.reading.echoes.WithLabelValues().Observe(took.Seconds())
}

// Broke counts a WebSocket whose client broke the protocol; code is of the close.
func (m *Metrics) Broke(code int) { m.reading.failed.WithLabelValues(strconv.Itoa(code)).Inc() }
