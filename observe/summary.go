package observe

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Summary is what people look at of the metrics, for a page. Connections are those of
// clients, without the admin listener's.
type Summary struct {
	Routes      []RouteSummary
	AllRoutes   int // of each method
	Reuse       Reuse
	Compression Compression
	Events      float64            // given to readers
	Closed      map[string]float64 // connections that ended, by why
	Ended       map[string]float64 // sessions that ended, by why
}

// Reuse is how many requests were the first of their connection, and further ones.
type Reuse struct {
	First   float64 `json:"first"`
	Further float64 `json:"further"`
}

// Compression is how many bytes responses had before their coding, and after it.
type Compression struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// RouteSummary is what became of the requests of a route. Quantiles are in seconds, from
// buckets, of those that were no streams and no polls.
type RouteSummary struct {
	Route    string  `json:"route"`
	Method   string  `json:"method"`
	Requests float64 `json:"requests"` // that are over, streams among them
	Failed   float64 `json:"failed"`   // of them, with a status of 500 or more
	Count    uint64  `json:"count"`    // of them, those that the times are of
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P99      float64 `json:"p99"`
}

// Summary gathers what it is of, which is little of what a scrape does, with at most
// limit of the routes: those with the most requests.
func (m *Metrics) Summary(limit int) (Summary, error) {
	s := Summary{Routes: []RouteSummary{}, Closed: make(map[string]float64), Ended: make(map[string]float64)}
	families, err := m.summary.Gather()
	if err != nil {
		return s, fmt.Errorf("observe: summary: %w", err)
	}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			s.add(f.GetName(), one)
		}
	}
	s.AllRoutes = len(s.Routes)
	slices.SortStableFunc(s.Routes, func(a, b RouteSummary) int { return cmp.Compare(b.Requests, a.Requests) })
	s.Routes = s.Routes[:min(limit, len(s.Routes))]
	slices.SortFunc(s.Routes, func(a, b RouteSummary) int {
		return cmp.Or(strings.Compare(a.Route, b.Route), strings.Compare(a.Method, b.Method))
	})
	return s, nil
}

// adminListener is the one whose connections are those of operators.
const adminListener = "admin"

// add takes in what a family says.
func (s *Summary) add(family string, one *dto.Metric) {
	n := one.GetCounter().GetValue()
	switch family {
	case "fairlead_http_request_duration_seconds":
		h, r := one.GetHistogram(), s.route(one)
		r.Count, r.P50, r.P90, r.P99 = h.GetSampleCount(), quantile(h, .5), quantile(h, .9), quantile(h, .99)
	case "fairlead_http_requests_total":
		r := s.route(one)
		r.Requests += n
		if label(one, "code") >= "500" {
			r.Failed += n
		}
	case "fairlead_connection_requests_total":
		switch {
		case label(one, "listener") == adminListener:
		case label(one, "reused") == "true":
			s.Reuse.Further += n
		default:
			s.Reuse.First += n
		}
	case "fairlead_compression_bytes_total":
		if label(one, "stage") == "before" {
			s.Compression.Before += n
		} else {
			s.Compression.After += n
		}
	case "fairlead_events_delivered_total":
		s.Events += n
	case "fairlead_connections_closed_total":
		if label(one, "listener") != adminListener {
			s.Closed[label(one, "reason")] += n
		}
	case "fairlead_sessions_closed_total":
		s.Ended[label(one, "reason")] += n
	}
}

// route returns that of a series.
func (s *Summary) route(one *dto.Metric) *RouteSummary {
	route, method := label(one, "route"), label(one, "method")
	i := slices.IndexFunc(s.Routes, func(r RouteSummary) bool { return r.Route == route && r.Method == method })
	if i < 0 {
		i = len(s.Routes)
		s.Routes = append(s.Routes, RouteSummary{Route: route, Method: method})
	}
	return &s.Routes[i]
}

func label(of *dto.Metric, name string) string {
	for _, l := range of.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// quantile returns the value that a share of the observations is not beyond, as
// evenly spread in its bucket; in the last one, its lower bound.
func quantile(h *dto.Histogram, share float64) float64 {
	want := share * float64(h.GetSampleCount())
	bound, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) { // told for its exemplar
			break
		}
		n := float64(b.GetCumulativeCount())
		if n >= want && n > below {
			return bound + (b.GetUpperBound()-bound)*(want-below)/(n-below)
		}
		bound, below = b.GetUpperBound(), n
	}
	return bound
}
