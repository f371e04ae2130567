package observe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/observe"
)

// Of 100 requests on kept connections 90 come within 10 ms of the one before, 5
// after 20 s, 4 after a minute and one after an hour. A timeout is suggested in
// steps of half a doubling, of a millisecond: the next that is not shorter.
func TestTheIdleTimeoutThatWouldHaveKeptMostReuseIsSuggested(t *testing.T) {
	t.Parallel()
	m := observe.New("", observe.Sources{})
	c := m.Connections("https")
	for gap, n := range map[time.Duration]int{8 * time.Millisecond: 90, 20 * time.Second: 5, time.Minute: 4, time.Hour: 1} {
		for range n {
			c.Idled(gap)
		}
	}
	has(t, m,
		`fairlead_connection_idle_timeout_suggested_seconds{listener="https",share="0.9"} 0.008`,
		`fairlead_connection_idle_timeout_suggested_seconds{listener="https",share="0.95"} 23.17047500592079`, // 2^14.5 ms
		`fairlead_connection_idle_timeout_suggested_seconds{listener="https",share="0.99"} 65.536`,            // 2^16 ms
		`fairlead_connection_request_gap_seconds_bucket{listener="https",le="0.01"} 90`,
		`fairlead_connection_request_gap_seconds_bucket{listener="https",le="30"} 95`,
		`fairlead_connection_request_gap_seconds_bucket{listener="https",le="300"} 99`,
		`fairlead_connection_request_gap_seconds_count{listener="https"} 100`)
}

func TestOfFewGapsNoIdleTimeoutIsSuggested(t *testing.T) {
	t.Parallel()
	m := observe.New("", observe.Sources{})
	c := m.Connections("https")
	for range 99 {
		c.Idled(0)
	}
	const suggested = `fairlead_connection_idle_timeout_suggested_seconds{listener="https",share="0.9"} `
	has(t, m, suggested+"0")
	c.Idled(1000 * 24 * time.Hour)
	has(t, m, suggested+"0.001")
}

func TestConnectionsAreCountedByHowTheyWent(t *testing.T) {
	t.Parallel()
	m := observe.New("", observe.Sources{})
	c := m.Connections("https")
	c.Heard(20 * time.Millisecond)
	c.Shaken(80*time.Millisecond, false, "1.2", false)
	c.Shaken(30*time.Millisecond, true, "1.3", true)
	c.Requested(2, true)
	c.Requested(2, false)
	c.Requested(2, false)
	c.Requested(9, true) // nobody speaks that
	c.Ended(2, "client_closed", 40*time.Second, 3)
	c.Ended(1, "too_slow", time.Hour, -1) // taken over
	has(t, m,
		`fairlead_connection_first_byte_seconds_bucket{listener="https",le="0.025"} 1`,
		`fairlead_connection_handshake_seconds_sum{listener="https",resumed="false",transport="tcp",version="1.2"} 0.08`,
		`fairlead_connection_handshake_seconds_sum{listener="https",resumed="true",transport="quic",version="1.3"} 0.03`,
		`fairlead_connection_requests_total{listener="https",protocol="h2",reused="false"} 1`,
		`fairlead_connection_requests_total{listener="https",protocol="h2",reused="true"} 2`,
		`fairlead_connection_requests_total{listener="https",protocol="unknown",reused="false"} 1`,
		`fairlead_connections_closed_total{listener="https",reason="client_closed"} 1`,
		`fairlead_connections_closed_total{listener="https",reason="too_slow"} 1`,
		`fairlead_connection_duration_seconds_sum{listener="https",protocol="h1"} 3600`,
		`fairlead_connection_requests_sum{listener="https",protocol="h2"} 3`)
	if strings.Contains(scrape(m), `fairlead_connection_requests_count{listener="https",protocol="h1"}`) {
		t.Error("requests of a connection that was taken over are not known")
	}
}

func has(t *testing.T, m *observe.Metrics, lines ...string) {
	t.Helper()
	text := scrape(m)
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the scrape lacks %s", line)
		}
	}
}
