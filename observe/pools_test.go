package observe_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/observe"
)

func pools(p ...observe.Pool) string {
	return scrape(observe.New("v1", observe.Sources{Pools: func() []observe.Pool { return p }}))
}

func TestAScrapeShowsEachPool(t *testing.T) {
	t.Parallel()
	text := pools(observe.Pool{
		Name: "api",
		Endpoints: []observe.PoolEndpoint{
			{Name: "http://b", Waiting: 9},
			{Name: "http://a", Up: true, Idle: 1, Active: 2, Dialing: 3, Draining: 4, InFlight: 5, Waiting: 6, Requests: 7, Failures: 8},
		},
		Requests: 10, Failed: 11, Attempts: 12, Reused: 13,
		Dials: map[string]uint64{"ok": 14, "refused": 0}, Closes: map[string]uint64{"age": 15},
		Retries: map[string]uint64{"unsent": 16}, Refusals: map[string]uint64{"queue_full": 17},
		Wait:      observe.Distribution{Bounds: []float64{.5, 1}, Counts: []uint64{1, 2, 4}, Sum: 18.5, Count: 7},
		Suggested: 19, Duplicates: 20,
	}, observe.Pool{Name: "idle"})
	for _, want := range []string{
		`connections{endpoint="http://a",pool="api",state="idle"} 1`,
		`connections{endpoint="http://a",pool="api",state="active"} 2`,
		`connections{endpoint="http://a",pool="api",state="dialing"} 3`,
		`connections{endpoint="http://a",pool="api",state="draining"} 4`,
		`requests_in_flight{endpoint="http://a",pool="api"} 5`,
		`requests_waiting{endpoint="http://a",pool="api"} 6`,
		`requests_waiting{endpoint="http://b",pool="api"} 9`,
		`endpoint_up{endpoint="http://a",pool="api"} 1`,
		`endpoint_up{endpoint="http://b",pool="api"} 0`,
		`endpoint_requests_total{endpoint="http://a",pool="api"} 7`,
		`endpoint_failures_total{endpoint="http://a",pool="api"} 8`,
		`requests_total{pool="api"} 10`,
		`failures_total{pool="api"} 11`,
		`attempts_total{pool="api"} 12`,
		`reused_total{pool="api"} 13`,
		`dials_total{pool="api",result="ok"} 14`,
		`dials_total{pool="api",result="refused"} 0`,
		`connections_closed_total{pool="api",reason="age"} 15`,
		`retries_total{class="unsent",pool="api"} 16`,
		`refusals_total{pool="api",reason="queue_full"} 17`,
		`wait_seconds_bucket{pool="api",le="0.5"} 1`,
		`wait_seconds_bucket{pool="api",le="1"} 3`,
		`wait_seconds_bucket{pool="api",le="+Inf"} 7`,
		`wait_seconds_sum{pool="api"} 18.5`,
		`wait_seconds_count{pool="api"} 7`,
		`dns_seconds_count{pool="idle"} 0`,
		`connect_seconds_count{pool="idle"} 0`,
		`tls_seconds_count{pool="idle"} 0`,
		`first_byte_seconds_count{pool="idle"} 0`,
		`connection_age_seconds_count{pool="idle"} 0`,
		`connection_requests_count{pool="idle"} 0`,
		`suggested_connections{pool="api"} 19`,
		`duplicate_pools{pool="api"} 20`,
		`requests_total{pool="idle"} 0`,
	} {
		if !strings.Contains(text, "\nfairlead_upstream_"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestEndpointsPastTheBoundAreSummedUp(t *testing.T) {
	t.Parallel()
	p := observe.Pool{Name: "api"}
	for i := range 1000 {
		p.Endpoints = append(p.Endpoints, observe.PoolEndpoint{Name: fmt.Sprintf("http://e%04d", 999-i), Up: i%2 == 0, Idle: 1})
	}
	text := pools(p)
	if strings.Contains(text, `endpoint_requests_total{endpoint="other"`) {
		t.Error("a counter that may fall")
	}
	if n := strings.Count(text, "\nfairlead_upstream_endpoint_up{"); n != 65 {
		t.Errorf("%d endpoints are shown", n)
	}
	for _, want := range []string{
		`connections{endpoint="http://e0063",pool="api",state="idle"} 1`,
		`connections{endpoint="other",pool="api",state="idle"} 936`,
		`endpoint_up{endpoint="other",pool="api"} 468`,
	} {
		if !strings.Contains(text, "\nfairlead_upstream_"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestEndpointsOfOneNameAreOneSeries(t *testing.T) {
	t.Parallel()
	draining := observe.PoolEndpoint{Name: "http://a", InFlight: 2}
	text := pools(observe.Pool{Name: "api", Endpoints: []observe.PoolEndpoint{draining, {Name: "http://a", Up: true, InFlight: 1}}})
	if !strings.Contains(text, `fairlead_upstream_requests_in_flight{endpoint="http://a",pool="api"} 3`) {
		t.Error(text[:min(len(text), 500)])
	}
}
