package sse_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fairlead-edge/fairlead/sse"
)

// answer is a stream like those of language models: many small events.
var answer = bytes.Repeat([]byte("data: {\"id\":\"chatcmpl-0001\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"}}]}\n\n"), 256)

const tick = `{"symbol":"AAPL","price":178.50,"time":"2026-01-01T00:00:00Z"}`

// Each piece is about what one read of a proxy returns.
const pieceSize = 4 << 10

func BenchmarkSplit(b *testing.B) {
	for name, in := range map[string][]byte{"LF": answer, "CRLF": bytes.ReplaceAll(answer, []byte("\n"), []byte("\r\n"))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				var s sse.Splitter
				for rest := in; len(rest) > 0; {
					n := min(len(rest), pieceSize)
					s.Feed(rest[:n])
					for _, ok := s.Next(); ok; _, ok = s.Next() {
						continue
					}
					rest = rest[n:]
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
		})
	}
}

// BenchmarkSplitTwin is the least that any splitter does: it finds LF LF.
func BenchmarkSplitTwin(b *testing.B) {
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		for rest := answer; len(rest) > 0; {
			i := bytes.Index(rest, []byte("\n\n"))
			rest = rest[i+2:]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
}

// BenchmarkSplitOneLine fills a block by small pieces: it must stay linear.
func BenchmarkSplitOneLine(b *testing.B) {
	piece := bytes.Repeat([]byte("x"), 64)
	b.SetBytes(1 << 19)
	for b.Loop() {
		var s sse.Splitter
		for range 1 << 19 / len(piece) {
			s.Feed(piece)
			s.Next()
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		d := sse.NewDecoder(bytes.NewReader(answer))
		for {
			if _, err := d.Next(); err == io.EOF {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/event")
}

func BenchmarkAppend(b *testing.B) {
	for name, data := range map[string][]byte{
		"tick":          []byte(tick),
		"4096 LF lines": bytes.Repeat([]byte("x\n"), 4096),
		"4096 CR lines": bytes.Repeat([]byte("x\r"), 4096),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			e := sse.Event{ID: "0000000000000001", Type: "tick", Data: data}
			var buf []byte
			for b.Loop() {
				buf, _ = sse.Append(buf[:0], e)
			}
		})
	}
}

// BenchmarkSend and its twin stream events to a reader on loopback.
func BenchmarkSend(b *testing.B) {
	benchmarkStream(b, func(w http.ResponseWriter) {
		stream, err := sse.NewWriter(w)
		if err != nil {
			b.Error(err)
			return
		}
		defer stream.Close()
		e := sse.Event{ID: "0000000000000001", Type: "tick", Data: []byte(tick)}
		for range b.N {
			if stream.Send(e) != nil {
				return
			}
		}
	})
}

// BenchmarkSendTwin is what a handler does with net/http alone.
func BenchmarkSendTwin(b *testing.B) {
	benchmarkStream(b, func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		flusher := w.(http.Flusher)
		for range b.N {
			if _, err := fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", "0000000000000001", "tick", tick); err != nil {
				return
			}
			flusher.Flush()
		}
	})
}

func benchmarkStream(b *testing.B, send func(http.ResponseWriter)) {
	b.Helper()
	b.ReportAllocs()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { send(w) }))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		b.Error(err)
	}
}
