package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// abrupt reads each request whole, notes its body, and hangs up instead of
// answering the first ones of them.
type abrupt struct {
	fail   int32
	calls  atomic.Int32
	bodies chan string
}

func newAbrupt(fail int32) *abrupt { return &abrupt{fail: fail, bodies: make(chan string, 1024)} }

func (a *abrupt) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := a.calls.Add(1)
	body, _ := io.ReadAll(r.Body)
	a.bodies <- string(body)
	if n <= a.fail {
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte("ok"))
}

func TestARequestThatGotNoAnswerIsRepeatedOnlyByItsClass(t *testing.T) {
	for _, c := range []struct {
		method, key string
		calls       int32
		class       string
	}{
		{"POST", "", 1, ""},
		{"PATCH", "", 1, ""},
		{"POST", "k", 2, "key"},
		{"POST", "a call's", 1, ""},
		{"GET", "", 2, "idempotent"},
		{"PUT", "", 2, "idempotent"},
		{"DELETE", "", 2, "idempotent"},
	} {
		for _, scheme := range []string{"http", "h2c"} {
			synctest.Test(t, func(t *testing.T) {
				b, a := newSwitchboard(), newAbrupt(1)
				b.serve(t, "a:80", 0, a)
				p := b.pool(t, upstream.Config{Endpoints: []string{scheme + "://a:80"}})
				var fields []string
				if c.key != "" {
					fields = []string{"Idempotency-Key", c.key}
				}
				if c.key == "a call's" {
					fields = append(fields, "Content-Type", "application/grpc")
				}
				text, err := ask(t, p, c.method, "the body", fields...)
				s := p.Snapshot()
				if (err == nil) != (c.class != "") || err == nil && text != "ok" || a.calls.Load() != c.calls {
					t.Errorf("%s %s %q: %q, %v after %d executions", scheme, c.method, c.key, text, err, a.calls.Load())
				}
				for class, n := range s.Retries {
					if want := class == c.class; n != 0 && !want || n != 1 && want {
						t.Errorf("%s %s %q: retries %v", scheme, c.method, c.key, s.Retries)
					}
				}
				for range c.calls {
					if body := <-a.bodies; body != "the body" {
						t.Errorf("%s %s: the body was %q", scheme, c.method, body)
					}
				}
			})
		}
	}
}

func TestAttemptsAndTheBudgetBoundRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newSwitchboard(), newAbrupt(1<<30)
		b.serve(t, "a:80", 0, a)
		p := b.pool(t, upstream.Config{Endpoints: []string{"http://a:80"}, Outliers: upstream.Outliers{Off: true}})
		if _, err := ask(t, p, http.MethodGet, ""); err == nil || a.calls.Load() != 3 {
			t.Errorf("%d attempts, %v", a.calls.Load(), err)
		}
		for range 99 {
			if _, err := ask(t, p, http.MethodGet, ""); err == nil {
				t.Fatal("no error")
			}
		}
		s := p.Snapshot()
		// 30 at the start, and a fifth of the requests.
		if n := s.Retries["idempotent"]; n < 45 || n > 50 || s.Refusals["budget"] < 70 || s.Attempts != 100+n || s.Failed != 100 {
			t.Errorf("%d attempts, retries %v, refusals %v", s.Attempts, s.Retries, s.Refusals)
		}
	})
}

// lengthless hides what a body is.
type lengthless struct{ io.Reader }

func TestABodyIsRepeatedByteForByteUpToItsLimit(t *testing.T) {
	for _, c := range []struct {
		size    int
		chunked bool
		again   bool
	}{
		{1, false, true}, {1000, true, true}, {64 << 10, false, true}, {60 << 10, true, true},
		{65 << 10, false, false}, {65 << 10, true, false}, {1 << 20, true, false},
	} {
		for _, scheme := range []string{"http", "h2c"} {
			synctest.Test(t, func(t *testing.T) {
				b, a := newSwitchboard(), newAbrupt(1)
				b.serve(t, "a:80", 0, a)
				p := b.pool(t, upstream.Config{Endpoints: []string{scheme + "://a:80"}})
				text := patterned(c.size)
				var body io.Reader = strings.NewReader(text)
				if c.chunked {
					body = lengthless{body}
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://pool/", body)
				if err != nil {
					t.Fatal(err)
				}
				res, err := p.RoundTrip(req)
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				executions := int32(1)
				if c.again {
					executions = 2
				}
				if (err == nil) != c.again || a.calls.Load() != executions {
					t.Errorf("%s, %d bytes, chunked %v: %d executions, %v", scheme, c.size, c.chunked, a.calls.Load(), err)
				}
				for range a.calls.Load() {
					if got := <-a.bodies; got != text {
						t.Errorf("%s, %d bytes, chunked %v: %d bytes came, or others", scheme, c.size, c.chunked, len(got))
					}
				}
			})
		}
	}
}

// patterned returns text no part of which is like another.
func patterned(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", sha256.Sum256(fmt.Append(nil, i)))
	}
	return b.String()[:n]
}

func TestAfterResponseTimeoutAGetGoesElsewhereAndAPostFails(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		synctest.Test(t, func(t *testing.T) {
			b := newSwitchboard()
			var calls atomic.Int32
			stuck := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if calls.Add(1) == 1 {
					<-r.Context().Done()
					return
				}
				_, _ = w.Write([]byte("ok"))
			})
			b.serve(t, "a:80", 0, stuck)
			b.serve(t, "b:80", 0, stuck)
			p := b.pool(t, upstream.Config{
				Endpoints: []string{scheme + "://a:80", scheme + "://b:80"},
				Retry:     upstream.Retry{ResponseTimeout: 2 * time.Second},
			})
			started := time.Now()
			if text, err := ask(t, p, http.MethodGet, ""); text != "ok" || err != nil || time.Since(started) != 2*time.Second {
				t.Errorf("%s: GET: %q, %v after %s", scheme, text, err, time.Since(started))
			}
			var to []uint64
			for _, e := range p.Snapshot().Endpoints {
				to = append(to, e.Requests)
			}
			if fmt.Sprint(to) != "[1 1]" {
				t.Errorf("%s: attempts by endpoint: %v", scheme, to)
			}
			calls.Store(0)
			if text, err := ask(t, p, http.MethodPost, "x"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: POST: %q, %v", scheme, text, err)
			}
			if calls.Load() != 1 {
				t.Errorf("%s: the POST was executed %d times", scheme, calls.Load())
			}
		})
	}
}

func TestAResponseThatHasBegunIsNotCutByResponseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.serve(t, "a:80", 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		}))
		p := b.pool(t, upstream.Config{Endpoints: []string{"http://a:80"}, Retry: upstream.Retry{ResponseTimeout: 2 * time.Second}})
		if text, err := ask(t, p, http.MethodPost, ""); len(text) != 10 || err != nil {
			t.Errorf("%q, %v", text, err)
		}
	})
}

func TestAnAnswerThatBreaksOffIsNotAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		var calls atomic.Int32
		b.plug("a:80", func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
					calls.Add(1)
					_, _ = io.WriteString(theirs, "HTTP/1.1 2")
				}
			}()
			return ours, nil
		})
		p := b.pool(t, upstream.Config{Endpoints: []string{"http://a:80"}})
		if _, err := ask(t, p, http.MethodGet, ""); err == nil || calls.Load() != 1 {
			t.Errorf("%v after %d executions", err, calls.Load())
		}
	})
}

func TestServerTimingTellsOfWaitingAndOfTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		b.serve(t, "a:80", 0, pause(25*time.Millisecond))
		with := b.pool(t, upstream.Config{Endpoints: []string{"http://a:80"}, ServerTiming: true, Connections: upstream.Connections{Max: 1}})
		without := b.pool(t, upstream.Config{Endpoints: []string{"http://a:80"}, Replaces: true})
		timings := make(chan string, 2)
		for range 2 {
			go func() {
				res, err := begin(t, with, http.MethodGet, "")
				if err != nil {
					t.Error(err)
					timings <- ""
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				timings <- res.Header.Get("Server-Timing")
			}()
		}
		if a, b := <-timings, <-timings; a != "pool;dur=0.000, upstream;dur=25.000" || b != "pool;dur=25.000, upstream;dur=25.000" {
			t.Errorf("%q, then %q", a, b)
		}
		res, err := begin(t, without, http.MethodGet, "")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if v := res.Header.Values("Server-Timing"); len(v) != 0 {
			t.Errorf("unasked: %q", v)
		}
	})
}

func TestAPoolBesideAnotherForTheSameEndpointsIsWarnedAboutOnce(t *testing.T) {
	var log bytes.Buffer
	cfg := upstream.Config{
		Endpoints: []string{"http://sibling-a:80", "http://sibling-b:80"},
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
	}
	open := func(cfg upstream.Config) *upstream.Pool {
		t.Helper()
		p, err := upstream.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	first := open(cfg)
	replacing := cfg
	replacing.Replaces = true
	open(replacing)
	if n := first.Snapshot().Duplicates; n != 0 || log.Len() != 0 {
		t.Errorf("one that replaces another: %d, %s", n, &log)
	}
	cfg.Endpoints = []string{cfg.Endpoints[1], cfg.Endpoints[0]} // the order does not matter
	for range 3 {
		open(cfg)
	}
	if n := first.Snapshot().Duplicates; n != 3 || strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "sibling-a") {
		t.Errorf("%d duplicates; %s", n, &log)
	}
	cfg.Endpoints = cfg.Endpoints[:1]
	if n := open(cfg).Snapshot().Duplicates; n != 0 {
		t.Errorf("other endpoints: %d", n)
	}
}
