package compress_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"

	"github.com/fairlead-edge/fairlead/compress"
)

// orders is an API's answer of about n bytes.
func orders(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in every run
	type item struct {
		SKU      string  `json:"sku"`
		Quantity int     `json:"quantity"`
		Price    float64 `json:"unit_price"`
	}
	var all []map[string]any
	for size := 0; size < n; size += 330 {
		all = append(all, map[string]any{
			"order_id": fmt.Sprintf("%016x", r.Uint64()), "customer": map[string]any{"id": r.IntN(1e5), "name": fmt.Sprintf("customer %d", r.IntN(1e5)), "tier": "gold"},
			"items":  []item{{fmt.Sprintf("SKU-%05d", r.IntN(1e5)), 1 + r.IntN(9), float64(r.IntN(1e4)) / 100}, {fmt.Sprintf("SKU-%05d", r.IntN(1e5)), 1 + r.IntN(9), float64(r.IntN(1e4)) / 100}},
			"status": []string{"confirmed", "shipped", "cancelled"}[r.IntN(3)], "created_at": fmt.Sprintf("2026-11-22T%02d:%02d:%02dZ", r.IntN(24), r.IntN(60), r.IntN(60)),
		})
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return text
}

// logs are lines of an access log.
func logs(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same in every run
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "10.0.%d.%d - - [22/Nov/2026:22:%02d:%02d +0000] \"GET /v1/orders/%d HTTP/2.0\" %d %d \"-\" \"client/%d.%d\"\n",
			r.IntN(256), r.IntN(256), r.IntN(60), r.IntN(60), r.IntN(1e6), []int{200, 200, 200, 304, 404}[r.IntN(5)], r.IntN(1e5), r.IntN(9), r.IntN(20))
	}
	return b.Bytes()
}

// page is an HTML page of a list of things.
func page(n int) []byte {
	r := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // the same in every run
	words := strings.Fields("the a of reliable delivery stream event order price cursor reader topic quick slow never always blue large small chapter edge server client")
	var b bytes.Buffer
	b.WriteString("<!doctype html><html lang=en><head><meta charset=utf-8><title>Catalogue</title><link rel=stylesheet href=/s.css></head><body><main>\n")
	for b.Len() < n {
		fmt.Fprintf(&b, "<article class=\"card card--%d\" id=\"item-%d\"><h2><a href=\"/items/%d\">", r.IntN(4), r.IntN(1e6), r.IntN(1e6))
		for range 3 + r.IntN(4) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		b.WriteString("</a></h2><p>")
		for range 20 + r.IntN(30) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		fmt.Fprintf(&b, "</p><span class=\"price\">%d.%02d</span></article>\n", r.IntN(500), r.IntN(100))
	}
	b.WriteString("</main></body></html>\n")
	return b.Bytes()
}

var bodies = []struct {
	name string
	body []byte
}{{"JSON 2 KiB", orders(2 << 10)}, {"JSON 20 KiB", orders(20 << 10)}, {"JSON 200 KiB", orders(200 << 10)}, {"HTML 50 KiB", page(50 << 10)}, {"log 100 KiB", logs(100 << 10)}}

// counter is a client that counts.
type counter struct {
	header http.Header
	n      int64
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// BenchmarkBody codes one body after the other and tells CPU, bytes, and how
// long both together take at 10 and 100 Mbit/s: what a level saves must not cost
// more than it saves. The twins are no coding, and gzhttp.
func BenchmarkBody(b *testing.B) {
	for _, body := range bodies {
		h := says("application/json", string(body.body))
		twin, err := gzhttp.NewWrapper(gzhttp.MinSize(1024))
		if err != nil {
			b.Fatal(err)
		}
		speed, size := compress.New(compress.Config{}, h), compress.New(compress.Config{Prefer: compress.Size}, h)
		for _, c := range []struct {
			name   string
			h      http.Handler
			accept string
		}{
			{"none", h, ""}, {"not accepted", speed, ""}, {"gzhttp", twin(h), "gzip"},
			{"zstd, speed", speed, "zstd"}, {"br, speed", speed, "br"}, {"gzip, speed", speed, "gzip"},
			{"br, size", size, "br"}, {"zstd, size", size, "zstd"}, {"gzip, size", size, "gzip"},
		} {
			b.Run(strings.ReplaceAll(body.name+"/"+c.name, " ", "_"), func(b *testing.B) {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://example.com/", http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				if c.accept != "" {
					r.Header.Set("Accept-Encoding", c.accept)
				}
				var sent, n int64
				b.ReportAllocs()
				began := cpu(b)
				for b.Loop() {
					w := &counter{header: make(http.Header)}
					c.h.ServeHTTP(w, r)
					sent += w.n
					n++
				}
				report(b, cpu(b)-began, sent, n)
			})
		}
	}
}

// report tells what each of n bodies took, and how long that is on a link.
func report(b *testing.B, cpu, sent, n int64) {
	b.Helper()
	us, bytes := float64(cpu)/float64(n)/1e3, float64(sent)/float64(n)
	b.ReportMetric(us, "cpu-us")
	b.ReportMetric(bytes, "B")
	b.ReportMetric(us+bytes*8/10, "us@10Mbit/s")
	b.ReportMetric(us+bytes*8/100, "us@100Mbit/s")
}

// levels are those of each codec that could be right for bodies made now, with
// the windows that this package has.
func levels() map[string]func(w io.Writer) (io.WriteCloser, error) {
	all := make(map[string]func(w io.Writer) (io.WriteCloser, error))
	for _, level := range []int{1, 3, 5, 6, 9} {
		all[fmt.Sprintf("gzip %d", level)] = func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) }
	}
	for level := 1; level <= 7; level++ {
		all[fmt.Sprintf("br %d", level)] = func(w io.Writer) (io.WriteCloser, error) {
			return brrr.NewWriterOptions(w, level, brrr.WriterOptions{LGWin: 18})
		}
	}
	for level := zstd.SpeedFastest; level <= zstd.SpeedBetterCompression; level++ {
		all["zstd "+level.String()] = func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithWindowSize(256<<10), zstd.WithEncoderConcurrency(1),
				zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		}
	}
	return all
}

// BenchmarkLevel is what the levels were chosen by.
func BenchmarkLevel(b *testing.B) {
	all := levels()
	for _, body := range bodies {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			b.Run(strings.ReplaceAll(body.name+"/"+name, " ", "_"), func(b *testing.B) {
				out := &counter{}
				w, err := all[name](out)
				if err != nil {
					b.Fatal(err)
				}
				again, ok := w.(interface{ Reset(w io.Writer) })
				if !ok {
					b.Fatalf("a %T cannot be used again", w)
				}
				var n int64
				began := cpu(b)
				for b.Loop() {
					again.Reset(out)
					if _, err := w.Write(body.body); err != nil {
						b.Fatal(err)
					}
					if err := w.Close(); err != nil {
						b.Fatal(err)
					}
					n++
				}
				report(b, cpu(b)-began, out.n, n)
			})
		}
	}
}

// cpu returns the CPU that the process has taken, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
