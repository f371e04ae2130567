package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/proxy"
)

// BenchmarkProxy takes turns with its plain twin, httputil.ReverseProxy on an
// equal transport, so that both meet the same machine; client, proxy and
// upstream share the process. An op is one GET of 13 bytes, or one event of a
// stream, sent when the client has read the one before.
func BenchmarkProxy(b *testing.B) {
	event := []byte("data: " + strings.Repeat("x", 120) + "\n\n")
	next := make(chan struct{})
	up := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stream" {
			_, _ = io.WriteString(w, "hello, world\n")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-next:
				_, _ = w.Write(event)
				_ = rc.Flush()
			}
		}
	}))
	tr := proxy.NewTransport()
	b.Cleanup(tr.CloseIdleConnections)
	u := target(b, up.URL)
	contenders := []struct {
		name string
		s    *httptest.Server
	}{
		{"proxy", front(b, up, proxy.Config{Observe: func(proxy.Outcome) {}})},
		{"twin", serve(b, &httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.SetXForwarded()
		}})},
	}
	for turn := range 3 {
		for _, c := range contenders {
			b.Run(fmt.Sprintf("small GET/%d/%s", turn, c.name), func(b *testing.B) {
				report := cpu(b)
				for b.Loop() {
					body := fetch(b, c.s, "/")
					_, _ = io.Copy(io.Discard, body)
					_ = body.Close()
				}
				report()
			})
		}
		for _, c := range contenders {
			b.Run(fmt.Sprintf("SSE event/%d/%s", turn, c.name), func(b *testing.B) {
				body := fetch(b, c.s, "/stream")
				defer body.Close()
				buf := make([]byte, len(event))
				report := cpu(b)
				for b.Loop() {
					next <- struct{}{}
					if _, err := io.ReadFull(body, buf); err != nil {
						b.Fatal(err)
					}
				}
				report()
			})
		}
	}
}

func fetch(b *testing.B, s *httptest.Server, path string) io.ReadCloser {
	b.Helper()
	res, err := s.Client().Get(s.URL + path)
	if err != nil {
		b.Fatal(err)
	}
	return res.Body
}

// cpu starts to count the process's CPU time; what it returns reports it.
func cpu(b *testing.B) func() {
	b.ReportAllocs()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}
