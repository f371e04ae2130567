package observe

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connections are the families of clients' connections.
type connections struct {
	ended      *prometheus.CounterVec
	lasted     *prometheus.HistogramVec
	carried    *prometheus.HistogramVec
	handshakes *prometheus.HistogramVec
	heard      *prometheus.HistogramVec
	requests   *prometheus.CounterVec
	gaps       *vector
	kept       *keptSeconds
}

func newConnections() connections {
	scaled := func(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
		o := histogramOptions(name, help)
		o.Buckets = bounds
		return prometheus.NewHistogramVec(o, labels)
	}
	return connections{
		ended: counter("fairlead_connections_closed_total", "Connections of clients that have ended, by why.", "listener", "reason"),
		lasted: scaled("fairlead_connection_duration_seconds", "How long they lasted, those that an event stream or a WebSocket took over included.",
			[]float64{.1, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400}, "listener", "protocol"),
		carried: scaled("fairlead_connection_requests", "Requests that they had carried; sum by count is the reuse. Those that were taken over are left out.",
			[]float64{0, 1, 2, 5, 10, 30, 100, 1000, 10_000}, "listener", "protocol"),
		handshakes: histogram("fairlead_connection_handshake_seconds",
			"From accepting a connection to the end of its TLS handshake, told at its first request.", "listener", "transport", "version", "resumed"),
		heard: scaled("fairlead_connection_first_byte_seconds", "From accepting a connection over TCP to its client's first byte, of TLS or of a request; QUIC begins with it.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "listener"),
		requests: counter("fairlead_connection_requests_total", "Requests that came, by whether theirs was a connection that had carried one before.", "listener", "protocol", "reused"),
		gaps:     newVector(silences, "fairlead_connection_request_gap_seconds", "How long connections were without a request before the next one came.", "listener"),
		kept:     &keptSeconds{of: make(map[string]*gaps)},
	}
}

func (c *connections) all() []prometheus.Collector {
	return []prometheus.Collector{c.ended, c.lasted, c.carried, c.handshakes, c.heard, c.requests, c.gaps, c.kept}
}

// Connections counts those of one listener. It is safe for concurrent use.
type Connections struct {
	listener string
	families *connections
	requests [4][2]prometheus.Counter // by the protocol, and whether it was a further one
	heard    prometheus.Observer
	gap      *cells
	gaps     *gaps
}

// Connections returns what counts the connections of a listener, by the key of its
// address in the configuration.
func (m *Metrics) Connections(listener string) *Connections {
	c := &Connections{listener: listener, families: &m.connections, gaps: m.connections.kept.get(listener)}
	c.heard, c.gap = m.connections.heard.WithLabelValues(listener), m.connections.gaps.with(listener)
	for protocol := range c.requests {
		for reused := range 2 {
			c.requests[protocol][reused] = m.connections.requests.WithLabelValues(listener, Protocol(protocol), strconv.FormatBool(reused == 1))
		}
	}
	return c
}

// Protocol names a major version of HTTP as labels do: h1, h2, h3, or unknown.
func Protocol(major int) string {
	if major < 1 || major > 3 {
		return "unknown"
	}
	return "h" + strconv.Itoa(major)
}

// Requested counts a request as it comes.
func (c *Connections) Requested(protocol int, first bool) {
	reused := 1
	if first {
		reused = 0
	}
	if protocol < 0 || protocol >= len(c.requests) {
		protocol = 0
	}
	c.requests[protocol][reused].Inc()
}

// Idled counts the time that a connection was without a request before one came.
func (c *Connections) Idled(d time.Duration) {
	c.gap.took(max(0, d))
	c.gaps.add(d)
}

// Heard counts the time from accepting a connection to its client's first byte.
func (c *Connections) Heard(d time.Duration) { c.heard.Observe(d.Seconds()) }

// Shaken counts a handshake of TLS. The version is such as "1.3".
func (c *Connections) Shaken(took time.Duration, quic bool, version string, resumed bool) {
	transport := "tcp"
	if quic {
		transport = "quic"
	}
	c.families.handshakes.WithLabelValues(c.listener, transport, version, strconv.FormatBool(resumed)).Observe(took.Seconds())
}

// Ended counts a connection that is over; requests of -1 are not known. The reason
// is of few values.
func (c *Connections) Ended(protocol int, reason string, lasted time.Duration, requests int64) {
	c.families.ended.WithLabelValues(c.listener, reason).Inc()
	c.families.lasted.WithLabelValues(c.listener, Protocol(protocol)).Observe(lasted.Seconds())
	if requests >= 0 {
		c.families.carried.WithLabelValues(c.listener, Protocol(protocol)).Observe(float64(requests))
	}
}

// gaps counts them by length, finely enough to say which timeout would have kept how
// many: bucket i is of those up to 2^(i/2) ms, which is 49 days in the last.
type gaps [65]atomic.Uint64

func (g *gaps) add(d time.Duration) {
	i := math.Ceil(2 * math.Log2(float64(max(d, 1))/float64(time.Millisecond)))
	g[int(min(max(i, 0), float64(len(g)-1)))].Add(1)
}

// enoughGaps is how many it takes to say something.
const enoughGaps = 100

// within returns the shortest time, in seconds, that a share of them was not longer
// than; 0 while there are too few to say.
func (g *gaps) within(share float64) float64 {
	var counts [len(g)]uint64
	var sum uint64
	for i := range g {
		counts[i] = g[i].Load()
		sum += counts[i]
	}
	if sum < enoughGaps {
		return 0
	}
	want, have := uint64(math.Ceil(share*float64(sum))), uint64(0)
	for i, n := range counts {
		if have += n; have >= want {
			return math.Exp2(float64(i)/2) / 1000
		}
	}
	return 0
}

// keptSeconds is the family that says which idle timeout is enough.
type keptSeconds struct {
	mu sync.Mutex
	of map[string]*gaps // by the listener, of which there are three
}

var idleTimeout = prometheus.NewDesc("fairlead_connection_idle_timeout_suggested_seconds",
	"The shortest idle timeout that would have kept this share of the connections that were used again; what the present one closed is not known. 0: fewer than 100 were.",
	[]string{"listener", "share"}, nil)

func (k *keptSeconds) get(listener string) *gaps {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of[listener] == nil {
		k.of[listener] = new(gaps)
	}
	return k.of[listener]
}

// Describe implements [prometheus.Collector].
func (k *keptSeconds) Describe(ch chan<- *prometheus.Desc) { ch <- idleTimeout }

// Collect implements [prometheus.Collector].
func (k *keptSeconds) Collect(ch chan<- prometheus.Metric) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for listener, p := range k.of {
		for _, share := range []float64{.9, .95, .99} {
			ch <- prometheus.MustNewConstMetric(idleTimeout, prometheus.GaugeValue, p.within(share), listener, strconv.FormatFloat(share, 'g', -1, 64))
		}
	}
}
