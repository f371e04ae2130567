package websocket_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"

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

// BenchmarkParser reads messages as an event loop does, 16 KiB at a time; its
// twin is Conn.Read of the same stream.
func BenchmarkParser(b *testing.B) {
	for name, size := range map[string]int{"20B": 20, "4KiB": 4 << 10} {
		frame := masked(ws.OpText, true, strings.Repeat("x", size))
		b.Run("Parser/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			stream, p := &loop{frame: frame}, websocket.NewParser(websocket.Server, 0)
			buf := make([]byte, 16<<10)
			var in []byte
			for b.Loop() {
				for {
					m, rest, err := p.Next(in)
					if err != nil {
						b.Fatal(err)
					}
					if in = rest; m.Kind != 0 {
						break
					}
					n, _ := stream.Read(buf)
					in = buf[:n]
				}
			}
		})
		b.Run("Conn/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			c := websocket.New(script{&loop{frame: frame}}, websocket.Server, websocket.Config{})
			for b.Loop() {
				if _, _, err := c.Read(); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.CloseNow()
		})
	}
}

// loop is a stream of the same frame, for ever.
type loop struct {
	frame []byte
	at    int
}

func (l *loop) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k := copy(p[n:], l.frame[l.at:])
		n += k
		l.at = (l.at + k) % len(l.frame)
	}
	return len(p), nil
}
