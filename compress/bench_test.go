package compress_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzhttp"

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

var bodies = []struct {
	name string
	body []byte
}{{"JSON 2 KiB", orders(2 << 10)}, {"JSON 20 KiB", orders(20 << 10)}, {"JSON 200 KiB", orders(200 << 10)}, {"log 100 KiB", logs(100 << 10)}}

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
				each := float64(cpu(b)-began) / float64(n) // ns
				bytes := float64(sent) / float64(n)
				b.ReportMetric(each/1e3, "cpu-us")
				b.ReportMetric(bytes, "B")
				b.ReportMetric(each/1e3+bytes*8/10, "us@10Mbit/s")
				b.ReportMetric(each/1e3+bytes*8/100, "us@100Mbit/s")
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
