package observe

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reading are the families of what goes to readers.
type reading struct {
	begun     *prometheus.CounterVec
	events    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	first     *prometheus.HistogramVec
	gaps      *prometheus.HistogramVec
	delays    *prometheus.HistogramVec
	ages      *prometheus.HistogramVec
	messages  *prometheus.CounterVec
	sizes     *prometheus.CounterVec
	answers   *prometheus.HistogramVec
	echoes    *prometheus.HistogramVec
	failed    *prometheus.CounterVec
	transport map[string]*transport // made once
}

// transport has the series of one that each delivery adds to.
type transport struct {
	events, bytes             prometheus.Counter
	first, gaps, delays, ages prometheus.Observer
}

func newReading() reading {
	s := reading{
		begun: counter("fairlead_subscriptions_total",
			"Subscriptions to topics, by whether from a cursor (not, cursor), and then again if there was a gap, or the cursor was of another life of the topic (unknown).",
			"transport", "from"),
		events: counter("fairlead_events_delivered_total", "Events given to readers' connections.", "transport"),
		bytes:  counter("fairlead_event_bytes_total", "Bytes of them, as they are sent.", "transport"),
		first:  histogram("fairlead_session_first_event_seconds", "From a session's admission to its first event; it may be the wait for one.", "transport"),
		gaps:   histogram("fairlead_event_gap_seconds", "From the last byte to a reader, a heartbeat's too, to the next event.", "transport"),
		delays: histogram("fairlead_delivery_delay_seconds",
			"From an event's append to its being given to a reader's connection: of the oldest that go together, and without what is replayed.", "transport"),
		ages:     histogram("fairlead_event_age_seconds", "The same from the event's own time, where its publisher gave one.", "transport"),
		messages: counter("fairlead_messages_total", "Messages of readers' connections that are no events, by what they are and which way they go.", "transport", "kind", "direction"),
		sizes:    counter("fairlead_message_bytes_total", "Bytes of them.", "transport", "kind", "direction"),
		answers:  histogram("fairlead_message_answer_seconds", "From a message of a WebSocket's client to its answer.", "kind"),
		echoes:   histogram("fairlead_websocket_ping_seconds", "From a ping to its pong."),
		failed:   counter("fairlead_websocket_protocol_errors_total", "Connections whose client broke the protocol, by the code of the close.", "code"),
	}
	s.transport = make(map[string]*transport)
	for _, name := range []string{"sse", "websocket", "poll", "grpc", "grpcweb", "connect"} {
		s.transport[name] = &transport{
			s.events.WithLabelValues(name), s.bytes.WithLabelValues(name),
			s.first.WithLabelValues(name), s.gaps.WithLabelValues(name), s.delays.WithLabelValues(name), s.ages.WithLabelValues(name),
		}
	}
	return s
}

func (s *reading) all() []prometheus.Collector {
	return []prometheus.Collector{s.begun, s.events, s.bytes, s.first, s.gaps, s.delays, s.ages, s.messages, s.sizes, s.answers, s.echoes, s.failed}
}

// Delivery is what was given to a reader's connection at one time. Negative times are
// not known.
type Delivery struct {
	Transport     string // one of those that sessions have
	Events, Bytes int
	Delay, Age    time.Duration // of the oldest event: since its append, and its own time
	First         time.Duration // of a session's first events, since its admission
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
	for _, o := range [...]struct {
		to   prometheus.Observer
		took time.Duration
	}{{t.delays, d.Delay}, {t.ages, d.Age}, {t.first, d.First}, {t.gaps, d.Gap}} {
		if o.took >= 0 {
			o.to.Observe(o.took.Seconds())
		}
	}
}

// Subscribed counts a subscription; from is of few values.
func (m *Metrics) Subscribed(transport, from string) {
	m.reading.begun.WithLabelValues(transport, from).Inc()
}

// Message counts a message that is no event; kind is of few values.
func (m *Metrics) Message(transport, kind string, sent bool, size int) {
	direction := "received"
	if sent {
		direction = "sent"
	}
	m.reading.messages.WithLabelValues(transport, kind, direction).Inc()
	m.reading.sizes.WithLabelValues(transport, kind, direction).Add(float64(size))
}

// Answered counts the answer to a message of a WebSocket's client.
func (m *Metrics) Answered(kind string, took time.Duration) {
	m.reading.answers.WithLabelValues(kind).Observe(took.Seconds())
}

// Echoed counts a pong.
func (m *Metrics) Echoed(took time.Duration) {
	m.reading.echoes.WithLabelValues().Observe(took.Seconds())
}

// Broke counts a WebSocket whose client broke the protocol; code is of the close.
func (m *Metrics) Broke(code int) { m.reading.failed.WithLabelValues(strconv.Itoa(code)).Inc() }
