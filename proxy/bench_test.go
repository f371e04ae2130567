package proxy_test

import (
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

// BenchmarkProxy and its plain twin, httputil.ReverseProxy on an equal
// transport, run in turns, so that both meet the same machine; client,
// proxy and upstream share the process. An op is one GET of 13 bytes, or one
// event of a stream.
func BenchmarkProxy(b *testing.B) { turns(b, false) }

// BenchmarkReverseProxy is the twin of BenchmarkProxy.
func BenchmarkReverseProxy(b *testing.B) { turns(b, true) }

func turns(b *testing.B, twin bool) {
	event := []byte("data: " + strings.Repeat("x", 120) + "\n\n")
	more := make(chan int)
	up := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stream" {
			_, _ = io.WriteString(w, "hello, world\n")
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for range <-more {
			_, _ = w.Write(event)
			_ = rc.Flush()
		}
	}))
	var s *httptest.Server
	if twin {
		tr := proxy.NewTransport()
		b.Cleanup(tr.CloseIdleConnections)
		u := target(b, up.URL)
		s = serve(b, &httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.SetXForwarded()
		}})
	} else {
		s = front(b, up, proxy.Config{Observe: func(proxy.Outcome) {}})
	}
	fetch := func(b *testing.B, path string) io.ReadCloser {
		res, err := s.Client().Get(s.URL + path)
		if err != nil {
			b.Fatal(err)
		}
		return res.Body
	}
	b.Run("small GET", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			body := fetch(b, "/")
			_, _ = io.Copy(io.Discard, body)
			_ = body.Close()
		}
	})
	b.Run("SSE event", func(b *testing.B) {
		b.SetBytes(int64(len(event)))
		body := fetch(b, "/stream")
		defer body.Close()
		b.ResetTimer()
		defer cpu(b)()
		more <- b.N
		if n, err := io.Copy(io.Discard, body); err != nil || n != int64(b.N*len(event)) {
			b.Fatalf("%d bytes: %v", n, err)
		}
	})
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
