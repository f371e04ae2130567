package observe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/observe"
)

func TestCallsAreCountedByTheirStatus(t *testing.T) {
	t.Parallel()
	m := observe.New("v1", observe.Sources{})
	for range 3 {
		m.CallBegan("/a.B/C")
	}
	m.CallEnded(observe.Call{Procedure: "/a.B/C", Protocol: "grpc", Code: "ok", Took: time.Second, First: time.Second, Sent: 1, Received: 1})
	m.CallEnded(observe.Call{Procedure: "/a.B/C", Protocol: "connect", Stream: true, Code: "canceled", Took: time.Hour, First: time.Millisecond, Sent: 5, Received: 2})
	m.Forwarded("/**", "api", "14", time.Second)
	m.Forwarded("/**", "api", "", time.Second)
	m.Forwarded("/**", "api", "99", time.Second)
	text := scrape(m)
	for _, want := range []string{
		`fairlead_rpc_calls_in_flight{procedure="/a.B/C"} 1`,
		`fairlead_rpc_calls_total{code="ok",procedure="/a.B/C",protocol="grpc"} 1`,
		`fairlead_rpc_calls_total{code="canceled",procedure="/a.B/C",protocol="connect"} 1`,
		`fairlead_rpc_call_duration_seconds_count{procedure="/a.B/C",protocol="grpc"} 1`,
		`fairlead_rpc_first_message_seconds_count{procedure="/a.B/C",protocol="connect"} 1`,
		`fairlead_rpc_messages_total{direction="sent",procedure="/a.B/C"} 6`,
		`fairlead_rpc_messages_total{direction="received",procedure="/a.B/C"} 3`,
		`fairlead_grpc_forwarded_calls_total{code="unavailable",route="/**",upstream="api"} 1`,
		`fairlead_grpc_forwarded_calls_total{code="none",route="/**",upstream="api"} 2`,
		`fairlead_grpc_forwarded_call_duration_seconds_count{route="/**",upstream="api"} 3`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	if strings.Contains(text, `fairlead_rpc_call_duration_seconds_count{procedure="/a.B/C",protocol="connect"}`) {
		t.Error("a stream is among the durations")
	}
}
