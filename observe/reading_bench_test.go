package observe_test

import (
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/observe"
)

// BenchmarkDelivered measures what counting a delivery takes, which comes on top of
// each write to a reader.
func BenchmarkDelivered(b *testing.B) {
	m := observe.New("v1", observe.Sources{Transports: []string{"sse"}})
	b.ReportAllocs()
	at := time.Microsecond
	for b.Loop() {
		m.Delivered(observe.Delivery{Transport: "sse", Events: 8, Bytes: 800, Delay: at, Age: -1, First: -1, Gap: 7 * at})
		if at += at / 16; at > 10*time.Second {
			at = time.Microsecond
		}
	}
}

// BenchmarkMessage is of a message of a WebSocket.
func BenchmarkMessage(b *testing.B) {
	m := observe.New("v1", observe.Sources{})
	b.ReportAllocs()
	for b.Loop() {
		m.Message("websocket", "publish", false, 100)
	}
}

// BenchmarkRequest is of a request that is over.
func BenchmarkRequest(b *testing.B) {
	m := observe.New("v1", observe.Sources{})
	b.ReportAllocs()
	for b.Loop() {
		m.Request(observe.Request{Route: "/v1/**", Method: "GET", Status: 200, Duration: 3 * time.Millisecond, FirstByte: 2 * time.Millisecond, Sent: 100})
	}
}

// BenchmarkCoded is of a response that could have been coded.
func BenchmarkCoded(b *testing.B) {
	m := observe.New("v1", observe.Sources{})
	b.ReportAllocs()
	for b.Loop() {
		m.Coded(observe.Coded{Reason: "not accepted", Bytes: 100})
	}
}
