package websocket_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/websocket"
)

// BenchmarkEcho is a round trip over loopback; its twin is a plain POST that
// returns its body.
func BenchmarkEcho(b *testing.B) {
	payload := make([]byte, 150)
	direct := serve(b, echo(websocket.Config{}))
	b.Run("websocket", func(b *testing.B) { roundTrips(b, direct.URL, payload) })
	b.Run("websocket over HTTP/2", func(b *testing.B) {
		stream, _ := h2client.New(b).Connect(serveH2(b, echo(websocket.Config{})).URL, h2client.WebSocket())
		exchange(b, websocket.New(stream, websocket.Client, websocket.Config{}), payload)
	})
	b.Run("websocket through a relay", func(b *testing.B) {
		roundTrips(b, serve(b, relayed(b.Context(), direct.URL, func(error) {})).URL, payload)
	})
	b.Run("net/http", func(b *testing.B) {
		s := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}))
		b.ReportAllocs()
		for b.Loop() {
			resp, err := s.Client().Post(s.URL, "application/octet-stream", bytes.NewReader(payload))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}

func roundTrips(b *testing.B, url string, payload []byte) {
	b.Helper()
	c, _, err := websocket.Dial(b.Context(), url, websocket.DialConfig{})
	if err != nil {
		b.Fatal(err)
	}
	exchange(b, c, payload)
}

func exchange(b *testing.B, c *websocket.Conn, payload []byte) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Write(websocket.Binary, payload); err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close(websocket.NormalClosure, "")
}

func BenchmarkAppendFrame(b *testing.B) {
	payload := make([]byte, 150)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = websocket.AppendFrame(dst[:0], websocket.Binary, payload)
	}
}
