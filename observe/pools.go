package observe

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Pool is what there is to count of the connections to one upstream. The keys
// of its maps become labels: they should be the same at every scrape, from a
// fixed set, so that what has never happened is a 0.
type Pool struct {
	Name      string // one of a kind
	Endpoints []PoolEndpoint

	Requests, Failed, Attempts, Reused uint64

	Dials    map[string]uint64 // by result
	Closes   map[string]uint64 // by reason
	Retries  map[string]uint64 // by class
	Refusals map[string]uint64 // by reason

	Wait, DNS, Connect, TLS, FirstByte Distribution // seconds
	AgeAtClose                         Distribution // seconds
	UsedAtClose                        Distribution // requests

	Suggested  int    // connections; 0: too little was seen to say
	Duplicates uint64 // further pools for the same endpoints
}

// PoolEndpoint is what there is now of one endpoint of a Pool.
type PoolEndpoint struct {
	Name                            string
	Up                              bool // requests may go there
	Idle, Active, Dialing, Draining int  // connections
	InFlight, Waiting               int  // requests
	Requests, Failures              uint64
}

// Distribution counts observations by buckets. Counts are those of each bucket
// alone, and one more than Bounds, the upper ones, which rise.
type Distribution struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
	Count  uint64
}

// maxEndpoints is how many endpoints of a pool have series of their own; those
// of the others are summed up under the name otherEndpoints.
const (
	maxEndpoints   = 64
	otherEndpoints = "other"
)

func perPool(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fairlead_upstream_"+name, help, append([]string{"pool"}, labels...), nil)
}

var (
	poolConnections = perPool("connections", "Connections, by what they do. Past 64 endpoints the rest are one, other.", "endpoint", "state")
	poolInFlight    = perPool("requests_in_flight", "Requests under way, the reading of their responses included.", "endpoint")
	poolWaiting     = perPool("requests_waiting", "Requests that wait for a connection.", "endpoint")
	poolUp          = perPool("endpoint_up", "1 if requests may go to the endpoint, 0 if it is taken out; for the endpoint other, how many are not out.", "endpoint")
	poolSent        = perPool("endpoint_requests_total", "Requests sent there.", "endpoint")
	poolBad         = perPool("endpoint_failures_total", "Connections and answers that count as failures of the endpoint.", "endpoint")

	poolRequests   = perPool("requests_total", "Requests that were asked of the pool.")
	poolFailed     = perPool("failures_total", "Of these, those that got no response.")
	poolAttempts   = perPool("attempts_total", "Requests sent, those sent again included.")
	poolReused     = perPool("reused_total", "Attempts on a connection that had carried one before.")
	poolDials      = perPool("dials_total", "Attempts to make a connection, by how they ended.", "result")
	poolCloses     = perPool("connections_closed_total", "Connections that were closed, by why.", "reason")
	poolRetries    = perPool("retries_total", "Requests sent again, by why that is safe.", "class")
	poolRefusals   = perPool("refusals_total", "Requests that got no connection, or were not sent again, by why.", "reason")
	poolSuggested  = perPool("suggested_connections", "Connections that the load of the last minute asks for, at all endpoints together; 0 while there is too little to say.")
	poolDuplicates = perPool("duplicate_pools", "Further pools that this process has opened for the same endpoints.")

	poolWait      = perPool("wait_seconds", "How long requests waited for a connection.")
	poolDNS       = perPool("dns_seconds", "Looking up a name, for a new connection.")
	poolConnect   = perPool("connect_seconds", "Connecting, without name and TLS.")
	poolTLS       = perPool("tls_seconds", "TLS handshakes.")
	poolFirstByte = perPool("first_byte_seconds", "From a request's start on its connection to the response's header.")
	poolAge       = perPool("connection_age_seconds", "Age of connections that were closed.")
	poolUsed      = perPool("connection_requests", "Requests that connections had carried when they were closed.")
)

var poolFamilies = []*prometheus.Desc{
	poolConnections, poolInFlight, poolWaiting, poolUp, poolSent, poolBad,
	poolRequests, poolFailed, poolAttempts, poolReused, poolDials, poolCloses, poolRetries, poolRefusals, poolSuggested, poolDuplicates,
	poolWait, poolDNS, poolConnect, poolTLS, poolFirstByte, poolAge, poolUsed,
}

// collect sends the metrics of p.
func (p *Pool) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{p.Name}, labels...)...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{p.Name}, labels...)...)
	}
	for _, e := range p.endpoints() {
		gauge(poolConnections, float64(e.Idle), e.Name, "idle")
		gauge(poolConnections, float64(e.Active), e.Name, "active")
		gauge(poolConnections, float64(e.Dialing), e.Name, "dialing")
		gauge(poolConnections, float64(e.Draining), e.Name, "draining")
		gauge(poolInFlight, float64(e.InFlight), e.Name)
		gauge(poolWaiting, float64(e.Waiting), e.Name)
		gauge(poolUp, float64(e.up), e.Name)
		if e.Name != otherEndpoints { // a sum falls when one of them goes, which a counter must not
			count(poolSent, e.Requests, e.Name)
			count(poolBad, e.Failures, e.Name)
		}
	}
	count(poolRequests, p.Requests)
	count(poolFailed, p.Failed)
	count(poolAttempts, p.Attempts)
	count(poolReused, p.Reused)
	for d, by := range map[*prometheus.Desc]map[string]uint64{poolDials: p.Dials, poolCloses: p.Closes, poolRetries: p.Retries, poolRefusals: p.Refusals} {
		for label, n := range by {
			count(d, n, label)
		}
	}
	gauge(poolSuggested, float64(p.Suggested))
	gauge(poolDuplicates, float64(p.Duplicates))
	for d, h := range map[*prometheus.Desc]Distribution{
		poolWait: p.Wait, poolDNS: p.DNS, poolConnect: p.Connect, poolTLS: p.TLS, poolFirstByte: p.FirstByte,
		poolAge: p.AgeAtClose, poolUsed: p.UsedAtClose,
	} {
		ch <- h.metric(d, p.Name)
	}
}

// shownEndpoint is one that has series of its own, or the sum of several.
type shownEndpoint struct {
	PoolEndpoint

	up int
}

// endpoints returns what is shown of the endpoints: those of one name, and
// those past maxEndpoints, are summed up, since no two series may be alike.
func (p *Pool) endpoints() []shownEndpoint {
	sorted := slices.SortedFunc(slices.Values(p.Endpoints), func(a, b PoolEndpoint) int { return cmp.Compare(a.Name, b.Name) })
	shown := make([]shownEndpoint, 0, min(len(sorted), maxEndpoints+1))
	for _, e := range sorted {
		if last := len(shown) - 1; last < 0 || shown[last].Name != e.Name {
			if len(shown) == maxEndpoints {
				e.Name = otherEndpoints
			}
			if len(shown) <= maxEndpoints {
				shown = append(shown, shownEndpoint{PoolEndpoint: PoolEndpoint{Name: e.Name}})
			}
		}
		s := &shown[len(shown)-1]
		s.Idle += e.Idle
		s.Active += e.Active
		s.Dialing += e.Dialing
		s.Draining += e.Draining
		s.InFlight += e.InFlight
		s.Waiting += e.Waiting
		s.Requests += e.Requests
		s.Failures += e.Failures
		if e.Up {
			s.up++
		}
	}
	return shown
}

// metric returns d as Prometheus wants it: with each bucket in all wider ones.
func (d *Distribution) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := make(map[float64]uint64, len(d.Bounds))
	var sum uint64
	for i, bound := range d.Bounds {
		sum += d.Counts[i]
		cumulative[bound] = sum
	}
	return prometheus.MustNewConstHistogram(desc, d.Count, d.Sum, cumulative, labels...)
}
