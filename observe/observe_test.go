package observe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/observe"
)

func TestMain(m *testing.M) { leak.Main(m) }

func scrape(m *observe.Metrics) string {
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestAScrapeShowsWhatWasToldAndWhatTheSourcesSay(t *testing.T) {
	t.Parallel()
	m := observe.New("v1", observe.Sources{
		Transports: []string{"sse", "websocket", "grpc"},
		Topics:     func() int { return 3 },
		Captured:   func() observe.Captured { return observe.Captured{Live: 1, Ended: 4, Bytes: 5} },
		InFlight:   func() map[string]int { return map[string]int{"/v1/**": 6} },
		Draining:   func() bool { return true },
		Backlogs: func() map[string]observe.Backlog {
			return map[string]observe.Backlog{"/v1/**": {Bytes: 15, Blocked: 16}}
		},
		Relays: func() observe.Relays {
			return observe.Relays{Client: observe.Relayed{Messages: 21, Bytes: 22}, Upstream: observe.Relayed{Deflated: 23, DeflatedBytes: 24}}
		},
		Coders: func() observe.Coders { return observe.Coders{Bytes: 12, Limit: 13, Refused: 14} },
	})
	m.Coded(observe.Coded{Coding: "zstd"})
	m.Coding("zstd", 100, 20, time.Second)
	m.Coded(observe.Coded{Reason: "not accepted", Bytes: 30})
	m.Request(observe.Request{Route: "/v1/**", Method: "GET", Status: 200, Duration: time.Second, FirstByte: time.Millisecond, Sent: 7})
	m.Opened("sse")
	m.Opened("sse")
	m.Delivered(observe.Delivery{Transport: "sse", Events: 8, Bytes: 800, Delay: time.Millisecond, Age: -1, First: time.Second, Gap: -1})
	m.Delivered(observe.Delivery{Transport: "carrier pigeon", Events: 1})
	m.Subscribed("sse", "cursor")
	m.Message("websocket", "ping", true, 10)
	m.Answered("websocket", "publish", time.Millisecond)
	m.Echoed(time.Millisecond)
	m.Broke(1002)
	m.Closed("sse", fairlead.Draining)
	m.Published("prices/*", "")
	m.Published("prices/*", fairlead.TooLarge)
	m.Reloaded(true)
	m.Reloaded(false)
	text := scrape(m)
	for _, want := range []string{
		`fairlead_build_info{version="v1"} 1`,
		`fairlead_http_requests_total{code="200",method="GET",route="/v1/**"} 1`,
		`fairlead_http_request_duration_seconds_count{method="GET",route="/v1/**"} 1`,
		`fairlead_http_first_byte_seconds_count{method="GET",route="/v1/**"} 1`,
		`fairlead_http_response_body_bytes_total{route="/v1/**"} 7`,
		`fairlead_sessions{transport="sse"} 1`,
		`fairlead_sessions_opened_total{transport="sse"} 2`,
		`fairlead_sessions_closed_total{reason="draining",transport="sse"} 1`,
		`fairlead_events_delivered_total{transport="sse"} 8`,
		`fairlead_event_bytes_total{transport="sse"} 800`,
		`fairlead_delivery_delay_seconds_count{transport="sse"} 1`,
		`fairlead_event_age_seconds_count{transport="sse"} 0`,
		`fairlead_session_first_event_seconds_sum{transport="sse"} 1`,
		`fairlead_subscriptions_total{from="cursor",transport="sse"} 1`,
		`fairlead_messages_total{direction="sent",kind="ping",transport="websocket"} 1`,
		`fairlead_message_bytes_total{direction="sent",kind="ping",transport="websocket"} 10`,
		`fairlead_message_size_bytes_bucket{direction="sent",kind="ping",transport="websocket",le="16"} 1`,
		`fairlead_message_size_bytes_bucket{direction="sent",kind="event",transport="sse",le="64"} 0`,
		`fairlead_message_size_bytes_bucket{direction="sent",kind="event",transport="sse",le="256"} 8`,
		`fairlead_message_size_bytes_sum{direction="sent",kind="event",transport="sse"} 800`,
		`fairlead_message_size_bytes_count{direction="sent",kind="event",transport="grpc"} 0`,
		`fairlead_message_answer_seconds_count{kind="publish",transport="websocket"} 1`,
		`fairlead_websocket_ping_seconds_count 1`,
		`fairlead_websocket_protocol_errors_total{code="1002"} 1`,
		`fairlead_publishes_total{code="ok",topics="prices/*"} 1`,
		`fairlead_publishes_total{code="too_large",topics="prices/*"} 1`,
		`fairlead_topics 3`,
		`fairlead_captured_streams{state="live"} 1`,
		`fairlead_captured_streams{state="ended"} 4`,
		`fairlead_captured_bytes 5`,
		`fairlead_http_requests_in_flight{route="/v1/**"} 6`,
		`fairlead_forwarded_buffered_bytes{route="/v1/**"} 15`,
		`fairlead_forwarded_blocked{route="/v1/**"} 16`,
		`fairlead_draining 1`,
		`fairlead_relay_messages_total{side="client"} 21`,
		`fairlead_relay_message_bytes_total{side="client"} 22`,
		`fairlead_relay_deflated_messages_total{side="upstream"} 23`,
		`fairlead_relay_deflated_bytes_total{side="upstream"} 24`,
		`fairlead_compression_memory_bytes 12`,
		`fairlead_compression_memory_limit_bytes 13`,
		`fairlead_compression_refused_total 14`,
		`fairlead_compression_responses_total{coding="zstd",reason=""} 1`,
		`fairlead_compression_responses_total{coding="identity",reason="not_accepted"} 1`,
		`fairlead_compression_bytes_total{coding="zstd",stage="before"} 100`,
		`fairlead_compression_bytes_total{coding="zstd",stage="after"} 20`,
		`fairlead_compression_bytes_total{coding="identity",stage="after"} 30`,
		`fairlead_compression_seconds_total{coding="zstd"} 1`,
		`fairlead_config_reloads_total{result="ok"} 1`,
		`fairlead_config_reloads_total{result="refused"} 1`,
		`go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestAStreamIsKeptOutOfTheDurationsButItsStartIsSeen(t *testing.T) {
	t.Parallel()
	m := observe.New("v1", observe.Sources{})
	m.Request(observe.Request{Route: "/s", Method: "GET", Status: 200, Stream: true, Duration: time.Hour, FirstByte: time.Second})
	text := scrape(m)
	if strings.Contains(text, `fairlead_http_request_duration_seconds_count{method="GET",route="/s"}`) {
		t.Error("the stream's duration was counted")
	}
	if !strings.Contains(text, `fairlead_http_first_byte_seconds_count{method="GET",route="/s"} 1`) {
		t.Error("the stream's start was not counted")
	}
}

func TestAClientCannotMakeSeriesWithMethodsOfItsOwn(t *testing.T) {
	t.Parallel()
	m := observe.New("v1", observe.Sources{})
	m.Request(observe.Request{Route: "/", Method: "BREW", Status: 405})
	m.Request(observe.Request{Route: "/", Method: "BREW2", Status: 405})
	if text := scrape(m); strings.Contains(text, "BREW") || !strings.Contains(text, `fairlead_http_requests_total{code="405",method="other",route="/"} 2`) {
		t.Error("a made-up method became a label")
	}
}

// The metrics are an http.Handler for any server, and count what they are told.
func Example() {
	metrics := observe.New("v1.0.0", observe.Sources{Topics: func() int { return 2 }})
	metrics.Published("prices/*", "")

	w := httptest.NewRecorder()
	metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "fairlead_topics") || strings.HasPrefix(line, "fairlead_publishes") {
			fmt.Print(line)
		}
	}
	// Output:
	// fairlead_publishes_total{code="ok",topics="prices/*"} 1
	// fairlead_topics 2
}
