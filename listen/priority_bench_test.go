package listen_test

import (
	"net/http"
	"sync"
	"testing"
)

// What priorities cost a connection that has one response at a time, and one on
// which several take turns, beside net/http's own.
func BenchmarkDownload(b *testing.B) {
	const size = 4 << 20
	part := make([]byte, 32<<10)
	h := func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(part) {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}
	for _, at := range []struct {
		name string
		once int
	}{{"alone", 1}, {"eight", 8}} {
		b.Run(at.name, func(b *testing.B) {
			twins(b, h, "h2", func(b *testing.B, c *http.Client, url string) {
				b.Helper()
				fetch(b, c, url)
				b.SetBytes(int64(at.once) * size)
				b.ReportAllocs()
				for b.Loop() {
					var all sync.WaitGroup
					for range at.once {
						all.Go(func() { fetch(b, c, url) })
					}
					all.Wait()
				}
			})
		})
	}
}
