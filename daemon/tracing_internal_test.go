package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/proxy"
)

// browser is what a browser sends, about.
var browser = http.Header{
	"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, "Accept": {"*/*"}, "Accept-Language": {"en-US,en;q=0.5"},
	"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Referer": {"https://app.example/"}, "Authorization": {"Bearer 0123456789"}, "Cookie": {"a=b; c=d"},
	"Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Site": {"same-origin"}, "Priority": {"u=4"},
}

// BenchmarkTracing compares a request through the access log, the proxy and a pool
// with tracing off and on, of which a hundredth is recorded; the endpoint, of net/http,
// is a part of both.
func BenchmarkTracing(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer up.Close()
	to := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer to.Close()
	for name, endpoint := range map[string]string{"off": "", "1%": to.URL} {
		d := newWatcher(io.Discard)
		d.site.Store(&site{})
		var err error
		if d.tracing, err = d.openTracing(&Tracing{Endpoint: endpoint, Sample: 0.01}); err != nil {
			b.Fatal(err)
		}
		var u Upstream
		u.defaults()
		u.Endpoints = make([]Endpoint, 1)
		if err := u.Endpoints[0].parse(up.URL); err != nil {
			b.Fatal(err)
		}
		pool, err := newPool("u", &u, true, slog.New(slog.DiscardHandler), d.attempts("u"))
		if err != nil {
			b.Fatal(err)
		}
		forward := proxy.New(proxy.Config{Target: &url.URL{Scheme: "http", Host: "u"}, Transport: pool, Observe: d.exchanged})
		h := d.watch(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.flights.routed(r, "/**")
			forward.ServeHTTP(w, r)
		}))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
				r.Header = browser.Clone()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
		pool.Close()
		d.tracing.Close(context.Background())
	}
}

func TestAResponseThatGoesOnForLongIsSeenBeforeItsEnd(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	to := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&body, r.Body) }))
	defer to.Close()
	for took, ends := range map[time.Duration]int{longResponse - time.Second: 0, longResponse + time.Second: 1} {
		body.Reset()
		synctest.Test(t, func(t *testing.T) {
			d := newWatcher(io.Discard)
			d.site.Store(&site{})
			var err error
			if d.tracing, err = d.openTracing(&Tracing{Endpoint: to.URL, Sample: 1}); err != nil {
				t.Fatal(err)
			}
			h := d.watch(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				d.flights.routed(r, "/calls/**")
				w.Header().Set("Content-Type", "application/grpc")
				w.WriteHeader(http.StatusOK)
				time.Sleep(took)
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0") // which nobody else reads meanwhile
			}))
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/calls/x", http.NoBody))
			d.tracing.Close(context.Background())
		})
		if all, late := bytes.Count(body.Bytes(), []byte("POST /calls/**")), bytes.Count(body.Bytes(), []byte("POST /calls/** end")); all != 1+ends || late != ends {
			t.Errorf("after %v: %d spans, %d of an end", took, all, late)
		}
	}
}

func TestTheLastSpansHaveUntilTheEndOfTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{}
		if took := d.flushTime(); took != flushSpans {
			t.Errorf("without a drain %v", took)
		}
		for left, want := range map[time.Duration]time.Duration{time.Minute: flushSpans, 3 * time.Second: 3 * time.Second, -time.Second: flushSpansLeast} {
			end := time.Now().Add(left)
			d.deadline.Store(&end)
			if took := d.flushTime(); took != want {
				t.Errorf("with %v left %v, want %v", left, took, want)
			}
		}
	})
}
