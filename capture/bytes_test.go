package capture_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
)

// bytesFixture has a recorded body of bytes: "0123456789" in three pieces.
func bytesFixture(t *testing.T, end bool) (*fixture, *call, string) {
	f := newFixture(t, capture.Config{Record: capture.All, OnDisconnect: capture.Continue}, capture.StoreConfig{})
	f.up.header = http.Header{"Content-Type": {"application/x-ndjson"}}
	resp := f.do(request(t.Context(), "POST", target, ""))
	c := <-f.up.came
	go func() {
		for _, piece := range []string{"012", "3", "456789"} {
			io.WriteString(c, piece)
		}
		if end {
			c.Close()
		}
	}()
	got := make([]byte, 10)
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "0123456789" {
		t.Fatalf("%q, %v", got, err)
	}
	if end {
		if n, err := resp.Body.Read(got); n != 0 || err != io.EOF {
			t.Fatalf("end: %d, %v", n, err)
		}
	}
	return f, c, resp.Header.Get("Content-Location")
}

func TestAnEndedBodyOfBytesHasRanges(t *testing.T) {
	t.Parallel()
	f, _, url := bytesFixture(t, true)
	etag := f.own("HEAD", url).Header().Get("Etag")
	if etag == "" || strings.HasPrefix(etag, "W/") {
		t.Fatalf("no strong ETag but %q", etag)
	}
	for _, c := range []struct {
		rng, ifRange string
		status       int
		body, cr     string
	}{
		{"", "", 200, "0123456789", ""},
		{"bytes=0-2", "", 206, "012", "bytes 0-2/10"},
		{"bytes=2-", "", 206, "23456789", "bytes 2-9/10"},
		{"bytes=3-3", "", 206, "3", "bytes 3-3/10"},
		{"bytes=-3", "", 206, "789", "bytes 7-9/10"},
		{"bytes=4-99", "", 206, "456789", "bytes 4-9/10"},
		{"bytes=10-", "", 416, "", "bytes */10"},
		{"bytes=4-", etag, 206, "456789", "bytes 4-9/10"},
		{"bytes=4-", `"other"`, 200, "0123456789", ""},
	} {
		headers := []string{"Range", c.rng}
		if c.rng == "" {
			headers = nil
		}
		if c.ifRange != "" {
			headers = append(headers, "If-Range", c.ifRange)
		}
		w := f.own("GET", url, headers...)
		if w.Code != c.status || c.status != 416 && w.Body.String() != c.body || w.Header().Get("Content-Range") != c.cr {
			t.Errorf("%q if %q: %d %q %q", c.rng, c.ifRange, w.Code, w.Body, w.Header().Get("Content-Range"))
		}
		if ct := w.Header().Get("Content-Type"); w.Code < 300 && ct != "application/x-ndjson" {
			t.Errorf("content type %q", ct)
		}
	}
	if w := f.own("GET", url, "Range", "bytes=0-1,4-5"); w.Code != 206 || !strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges: %d %v", w.Code, w.Header())
	}
	if w := f.own("HEAD", url); w.Code != 200 || w.Header().Get("Content-Length") != "10" || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
}

func TestABodyOfBytesIsReadFromAnOffset(t *testing.T) {
	t.Parallel()
	f, c, url := bytesFixture(t, false)
	for i := range 11 {
		done := make(chan *httptest.ResponseRecorder)
		r := f.watched(url+fmt.Sprintf("?offset=%d", i), done)
		<-r // the header is sent, also at the tip
		defer func() {
			w := <-done
			want := "0123456789abc"[i:]
			if w.Code != 200 || w.Body.String() != want || w.Header().Get("Fairlead-Offset") != fmt.Sprint(i) {
				t.Errorf("offset %d: %d %q %v, want %q", i, w.Code, w.Body, w.Header(), want)
			}
		}()
	}
	for _, bad := range []string{"-1", "x", "11", "99999999999999999999"} {
		if w := f.own("GET", url+"?offset="+bad); w.Code != 400 {
			t.Errorf("offset %s: status %d", bad, w.Code)
		}
	}
	io.WriteString(c, "abc")
	c.Close()
}

// watched serves path on a goroutine; the first channel is closed when the
// header was flushed.
func (f *fixture) watched(path string, done chan<- *httptest.ResponseRecorder) <-chan struct{} {
	flushed := make(chan struct{})
	w := &flushRecorder{ResponseRecorder: httptest.NewRecorder(), flushed: flushed}
	go func() {
		f.store.ServeHTTP(w, httptest.NewRequestWithContext(f.t.Context(), "GET", path, nil))
		done <- w.ResponseRecorder
	}()
	return flushed
}

type flushRecorder struct {
	*httptest.ResponseRecorder

	flushed chan struct{}
}

func (w *flushRecorder) Flush() {
	if w.flushed != nil {
		close(w.flushed)
		w.flushed = nil
	}
	w.ResponseRecorder.Flush()
}

func TestALiveBodyOfBytesHasRanges(t *testing.T) {
	t.Parallel()
	f, c, url := bytesFixture(t, false)
	for _, x := range []struct {
		rng    string
		status int
		body   string
		cr     string
	}{
		{"bytes=2-", 206, "23456789", "bytes 2-9/*"},
		{"bytes=2-5", 206, "2345", "bytes 2-5/*"},
		{"bytes=2-50", 206, "23456789", "bytes 2-9/*"},
		{"bytes=-4", 206, "6789", "bytes 6-9/*"},
		{"bytes=10-", 416, "", ""},
		{"bytes=12-9007199254740991", 416, "", ""},
	} {
		w := f.own("GET", url, "Range", x.rng)
		if w.Code != x.status || w.Body.String() != x.body || w.Header().Get("Content-Range") != x.cr {
			t.Errorf("%q: %d %q %q", x.rng, w.Code, w.Body, w.Header().Get("Content-Range"))
		}
	}
	tails := make(chan *httptest.ResponseRecorder)
	for _, from := range []int{4, 10} {
		go func() { tails <- f.own("GET", url, "Range", fmt.Sprintf("bytes=%d-9007199254740991", from)) }()
	}
	for f.store.Stats().Served < 8 { // both are there
	}
	io.WriteString(c, "abc")
	c.Close()
	for range 2 {
		w := <-tails
		from := 4
		if strings.HasPrefix(w.Header().Get("Content-Range"), "bytes 10-") {
			from = 10
		}
		if w.Code == 206 && w.Body.String() != "0123456789abc"[from:] || w.Header().Get("Content-Range") != fmt.Sprintf("bytes %d-9007199254740991/*", from) {
			t.Errorf("tail from %d: %d %q %v", from, w.Code, w.Body, w.Header())
		}
	}
}

func TestABodyOfBytesThatBrokeIsNoWhole(t *testing.T) {
	t.Parallel()
	f, c, url := bytesFixture(t, false)
	c.CloseWithError(errBroken)
	for f.store.Stats().Live > 0 { // until it is noticed
	}
	w := httptest.NewRecorder()
	aborted := func() (aborted bool) {
		defer func() { aborted = recover() == http.ErrAbortHandler }()
		f.store.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", url, nil))
		return false
	}()
	if !aborted || w.Body.String() != "0123456789" {
		t.Errorf("aborted %v after %q", aborted, w.Body)
	}
}

func TestTheOldestBytesAreForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{Record: capture.All, OnDisconnect: capture.Continue}, capture.StoreConfig{StreamBytes: 4 << 10})
	f.up.header = http.Header{"Content-Type": {"application/octet-stream"}}
	resp := f.do(request(t.Context(), "GET", target, ""))
	c := <-f.up.came
	go func() {
		for i := range 10 {
			c.Write(bytes.Repeat([]byte{byte('0' + i)}, 1000))
		}
		c.Close()
	}()
	if body, err := readAll(resp.Body); err != nil || len(body) != 10_000 {
		t.Fatalf("the reader that keeps up got %d bytes, %v", len(body), err)
	}
	url := resp.Header.Get("Content-Location")
	w := f.own("GET", url)
	if w.Code != 410 || !strings.Contains(w.Body.String(), "offset=7000") {
		t.Errorf("from the start: %d %s", w.Code, w.Body)
	}
	if w := f.own("GET", url+"?offset=7500"); w.Code != 200 || w.Body.Len() != 2500 || w.Body.String()[500] != '8' {
		t.Errorf("from 7500: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := f.own("GET", url, "Range", "bytes=8000-8001"); w.Code != 206 || w.Body.String() != "88" {
		t.Errorf("range: %d %q", w.Code, w.Body)
	}
	if w := f.own("GET", url, "Range", "bytes=1-2"); w.Code != 410 {
		t.Errorf("forgotten range: %d", w.Code)
	}
	for range 2 {
		if n := f.store.Stats().Bytes; n > 8<<10 {
			t.Errorf("%d bytes are charged", n)
		}
	}
	if fairlead.OutOfRange.HTTPStatus() != 410 {
		t.Error("the table of codes has changed")
	}
}

func TestABodyOfBytesIsRepeatedUnderItsKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{Record: capture.All}, capture.StoreConfig{})
	f.up.header = http.Header{"Content-Type": {"application/json"}, "Etag": {`"own"`}}
	first := f.do(request(t.Context(), "POST", target, "{}", "Idempotency-Key", "k"))
	c := <-f.up.came
	go func() {
		io.WriteString(c, "[1,")
		io.WriteString(c, "2]")
		c.Close()
	}()
	a, err := readAll(first.Body)
	again := f.do(request(t.Context(), "POST", target, "{}", "Idempotency-Key", "k"))
	b, err2 := readAll(again.Body)
	if a != "[1,2]" || b != a || err != nil || err2 != nil || again.Header.Get("Etag") != `"own"` || f.up.count() != 1 {
		t.Errorf("%q, %v; %q, %v", a, err, b, err2)
	}
}
