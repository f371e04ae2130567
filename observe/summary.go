package observe

import (
	"fmt"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Summary is what people look at of the metrics, for a page.
type Summary struct {
	Routes []RouteSummary
	// First and Further are the requests on connections that had carried none, and one
	// before.
	First, Further float64
	// Before and After are bytes of responses, without and with their coding.
	Before, After float64
	Events        float64            // given to readers
	Closed        map[string]float64 // connections of clients that ended, by why
	Ended         map[string]float64 // sessions that ended, by why
}

// RouteSummary is how long the requests of a route took, streams left out. Quantiles
// are in seconds, from buckets.
type RouteSummary struct {
	Route         string
	Method        string
	Count         uint64
	P50, P90, P99 float64
}

// Summary gathers the metrics. It takes what a scrape does.
func (m *Metrics) Summary() (Summary, error) {
	s := Summary{Closed: make(map[string]float64), Ended: make(map[string]float64)}
	families, err := m.registry.Gather()
	if err != nil {
		return s, fmt.Errorf("observe: summary: %w", err)
	}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			s.add(f.GetName(), one)
		}
	}
	slices.SortFunc(s.Routes, func(a, b RouteSummary) int { return strings.Compare(a.Route+" "+a.Method, b.Route+" "+b.Method) })
	return s, nil
}

// add takes in what a family says.
func (s *Summary) add(family string, one *dto.Metric) {
	n := one.GetCounter().GetValue()
	switch family {
	case "fairlead_http_request_duration_seconds":
		h := one.GetHistogram()
		s.Routes = append(s.Routes, RouteSummary{
			Route: label(one, "route"), Method: label(one, "method"), Count: h.GetSampleCount(),
			P50: quantile(h, .5), P90: quantile(h, .9), P99: quantile(h, .99),
		})
	case "fairlead_connection_requests_total":
		if label(one, "reused") == "true" {
			s.Further += n
		} else {
			s.First += n
		}
	case "fairlead_compression_bytes_total":
		if label(one, "stage") == "before" {
			s.Before += n
		} else {
			s.After += n
		}
	case "fairlead_events_delivered_total":
		s.Events += n
	case "fairlead_connections_closed_total":
		s.Closed[label(one, "reason")] += n
	case "fairlead_sessions_closed_total":
		s.Ended[label(one, "reason")] += n
	}
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
