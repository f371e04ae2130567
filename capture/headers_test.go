package capture_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
)

func TestWhatIsCaptured(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		record   capture.Record
		method   string
		request  []string
		header   []string
		status   int
		length   int64
		captured bool
	}{
		{"an event stream", capture.Events, "GET", nil, []string{"Content-Type", "text/event-stream"}, 200, -1, true},
		{"one with parameters", capture.Events, "POST", nil, []string{"Content-Type", "Text/Event-Stream; charset=utf-8"}, 200, -1, true},
		{"one of known length", capture.Events, "GET", nil, []string{"Content-Type", "text/event-stream"}, 200, 12, true},
		{"one of status 201", capture.Events, "POST", nil, []string{"Content-Type", "text/event-stream"}, 201, -1, true},
		{"nothing when off", capture.Off, "GET", nil, []string{"Content-Type", "text/event-stream"}, 200, -1, false},
		{"no error", capture.Events, "GET", nil, []string{"Content-Type", "text/event-stream"}, 500, -1, false},
		{"nothing public", capture.All, "GET", nil, []string{"Content-Type", "text/event-stream", "Cache-Control", "max-age=1, Public"}, 200, -1, false},
		{"nothing for shared caches", capture.All, "GET", nil, []string{"Content-Type", "text/event-stream", "Cache-Control", "s-maxage=5"}, 200, -1, false},
		{"no gRPC", capture.All, "POST", nil, []string{"Content-Type", "application/grpc+proto"}, 200, -1, false},
		{"no gRPC request", capture.All, "POST", []string{"Content-Type", "application/grpc"}, []string{"Content-Type", "text/event-stream"}, 200, -1, false},
		{"no upgrade", capture.All, "GET", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, []string{"Content-Type", "text/event-stream"}, 200, -1, false},
		{"no HEAD", capture.All, "HEAD", nil, []string{"Content-Type", "text/event-stream"}, 200, -1, false},
		{"no coded event stream", capture.Events, "GET", nil, []string{"Content-Type", "text/event-stream", "Content-Encoding", "gzip"}, 200, -1, false},
		{"no other body", capture.Events, "GET", nil, []string{"Content-Type", "application/json"}, 200, -1, false},
		{"any streamed body on a route for all", capture.All, "GET", nil, []string{"Content-Type", "application/json"}, 200, -1, true},
		{"a coded one too", capture.All, "GET", nil, []string{"Content-Type", "text/event-stream", "Content-Encoding", "gzip"}, 200, -1, true},
		{"no body of known length", capture.All, "GET", nil, []string{"Content-Type", "application/json"}, 200, 12, false},
		{"no part", capture.All, "GET", nil, []string{"Content-Type", "application/json"}, 206, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, capture.Config{Record: c.record}, capture.StoreConfig{})
			f.up.status, f.up.length, f.up.header = c.status, c.length, http.Header{"Content-Length": {"12"}, "X-Own": {"1"}}
			for i := 0; i < len(c.header); i += 2 {
				f.up.header.Add(c.header[i], c.header[i+1])
			}
			resp := f.do(request(t.Context(), c.method, target, "", c.request...))
			up := <-f.up.came
			go func() {
				io.WriteString(up, "id: 1\ndata\n\n")
				up.Close()
			}()
			body, err := readAll(resp.Body)
			if body != "id: 1\ndata\n\n" || err != nil || resp.StatusCode != c.status || resp.Header.Get("X-Own") != "1" {
				t.Errorf("%d %q %v %v", resp.StatusCode, body, err, resp.Header)
			}
			if got := resp.Header.Get("Content-Location") != ""; got != c.captured || f.store.Stats().Captured == 1 != got {
				t.Errorf("captured: %v", got)
			}
			if c.captured != (resp.Header.Get("Content-Length") == "") {
				t.Errorf("Content-Length %q", resp.Header.Get("Content-Length"))
			}
			resp.Body.Close()
			if up.req.Header.Get("Accept-Encoding") == "identity" {
				<-up.req.Context().Done() // nothing is left of a call with a context of its own
			}
		})
	}
}

func TestPagesOfOtherOriginsNeedTheUpstreamsLeave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		allow, origin, site string
		status              int
	}{
		{"", "", "", 200},
		{"", "", "same-origin", 200},
		{"", "", "cross-site", 403},
		{"", "http://example.com", "", 200}, // the host of the request
		{"", "https://evil.test", "", 403},
		{"", "null", "", 403},
		{"https://app.test", "https://app.test", "cross-site", 200},
		{"https://app.test", "https://evil.test", "", 403},
		{"*", "https://evil.test", "", 200},
	} {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		if c.allow != "" {
			f.up.header.Set("Access-Control-Allow-Origin", c.allow)
			f.up.header.Set("Access-Control-Expose-Headers", "X-Own")
		}
		resp := f.get()
		(<-f.up.came).Close()
		readAll(resp.Body)
		exposed := resp.Header.Get("Access-Control-Expose-Headers")
		if c.allow != "" && exposed != "X-Own, Content-Location" || c.allow == "" && exposed != "" {
			t.Errorf("exposed: %q", exposed)
		}
		var headers []string
		if c.origin != "" {
			headers = append(headers, "Origin", c.origin)
		}
		if c.site != "" {
			headers = append(headers, "Sec-Fetch-Site", c.site)
		}
		for method, want := range map[string]int{"GET": c.status, "HEAD": c.status, "DELETE": c.status, "OPTIONS": c.status} {
			if (method == "DELETE" || method == "OPTIONS") && want == 200 {
				want = 204
			}
			w := f.own(method, resp.Header.Get("Content-Location"), headers...)
			if w.Code != want {
				t.Errorf("%s with %+v: status %d", method, c, w.Code)
			}
			if w.Code < 300 && w.Header().Get("Access-Control-Allow-Origin") != c.allow {
				t.Errorf("%s: allowed origin %q, want %q", method, w.Header().Get("Access-Control-Allow-Origin"), c.allow)
			}
		}
	}
}

func TestOnlyAnEventSourceGetsAnIDFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		first   bool
	}{
		{[]string{"Accept", "text/event-stream", "Cache-Control", "no-cache"}, true},
		{[]string{"Accept", "text/event-stream"}, false},
		{[]string{"Accept", "application/json", "Cache-Control", "no-cache"}, false},
	} {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		resp := f.do(request(t.Context(), "GET", target, "", c.headers...))
		up := <-f.up.came
		go func() {
			io.WriteString(up, ": hello\n\n")
			up.Close()
		}()
		body, err := readAll(resp.Body)
		_, id := events(body)
		if err != nil || (id != "") != c.first || !strings.HasSuffix(body, ": hello\n\n") {
			t.Errorf("%v: %q, %v", c.headers, body, err)
		}
		if !c.first {
			continue
		}
		// A drop before the first event can resume.
		again := f.do(request(t.Context(), "GET", target, "", append(c.headers, "Last-Event-ID", id)...))
		if got, ok := (<-f.up.came).req.Header["Last-Event-Id"]; ok || again.StatusCode != 200 {
			t.Errorf("the upstream got %q", got)
		}
	}
}

func TestHeadDescribesAStream(t *testing.T) {
	t.Parallel()
	x := inState(t, "live", capture.Config{})
	h := x.own("HEAD", x.url).Header()
	if h.Get("Fairlead-Closed") != "?0" || h.Get("Fairlead-Latest") != x.id || h.Get("Fairlead-Earliest") >= x.id || h.Get("Content-Type") != "text/event-stream" {
		t.Errorf("live: %v", h)
	}
	x.call.Close()
	readAll(x.resp.Body)
	if w := x.own("HEAD", x.url); w.Header().Get("Fairlead-Closed") != "?1" || w.Body.Len() != 0 {
		t.Errorf("ended: %v", w.Header())
	}
	if w := x.own("PUT", x.url); w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("PUT: status %d", w.Code)
	}
}

func TestALargeRequestBodyArrivesWhole(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 3 << 20} {
		sent := bytes.Repeat([]byte("x"), size)
		var got []byte
		store := capture.NewStore(capture.StoreConfig{})
		rt := store.Transport(capture.Config{}, roundTripper(func(r *http.Request) (*http.Response, error) {
			got, _ = io.ReadAll(r.Body)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		}))
		r := request(t.Context(), "POST", target, "", "Idempotency-Key", "k")
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(sent)), -1
		resp, err := rt.RoundTrip(r)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes: %d arrived, %v", size, len(got), err)
		}
		resp.Body.Close()
		store.Close()
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPagesOfAllowedOriginsNeedNobodysLeave(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	resp := f.get("Idempotency-Key", "k")
	(<-f.up.came).Close()
	readAll(resp.Body)
	at, app := resp.Header.Get("Content-Location"), []string{"Origin", "https://app.test"}
	if w := f.own("GET", at, app...); w.Code != 403 {
		t.Errorf("status %d before it is allowed", w.Code)
	}
	f.store.AllowOrigins([]string{"https://app.test"})
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", at, 200}, {"OPTIONS", at, 204}, {"OPTIONS", capture.Prefix + "?key=k", 204}, {"DELETE", capture.Prefix + "?key=k", 204}} {
		w := f.own(c.method, c.path, app...)
		if w.Code != c.status || w.Header().Get("Access-Control-Allow-Origin") != "https://app.test" {
			t.Errorf("%s %s: status %d, %v", c.method, c.path, w.Code, w.Header())
		}
	}
	if w := f.own("GET", at, "Origin", "https://evil.test"); w.Code != 403 {
		t.Errorf("status %d for a foreign origin", w.Code)
	}
}

func TestAnIDNeedsItsSlash(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	resp := f.get()
	(<-f.up.came).Close()
	readAll(resp.Body)
	id := strings.TrimPrefix(resp.Header.Get("Content-Location"), capture.Prefix+"/")
	for _, path := range []string{capture.Prefix + id, capture.Prefix + "//" + id, capture.Prefix + "/" + id + "/"} {
		if w := f.own("GET", path); w.Code != 404 {
			t.Errorf("%d for an id spelled otherwise", w.Code)
		}
	}
}

func TestFieldsThatTheUpstreamNominatesDoNotTakeOursAlong(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	f.up.header.Set("Connection", "content-location, X-Hop, cache-control")
	f.up.header.Set("X-Hop", "1")
	resp := f.get()
	(<-f.up.came).Close()
	readAll(resp.Body)
	if h := resp.Header; h.Get("Connection") != "" || h.Get("X-Hop") != "" || h.Get("Content-Location") == "" || h.Get("Cache-Control") != "private, no-store" {
		t.Errorf("%v", h)
	}
}
