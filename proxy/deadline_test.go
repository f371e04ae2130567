package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
)

// stalling is an upstream whose /flood never stops writing and whose /idle
// writes a line for each item of more.
func stalling(t *testing.T, more <-chan string) *httptest.Server {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/flood", "/flood/known":
			if r.URL.Path == "/flood/known" {
				w.Header().Set("Content-Length", "1000000000")
			}
			for p := make([]byte, 32<<10); ; {
				if _, err := w.Write(p); err != nil {
					return
				}
			}
		case "/small":
			_, _ = io.WriteString(w, "small")
		}
		_ = rc.Flush()
		for r.URL.Path == "/idle" {
			select {
			case line := <-more:
				_, _ = io.WriteString(w, line+"\n")
				_ = rc.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
}

func TestAClientThatReadsNothingIsCutOffAndOneThatWaitsIsNot(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string][]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overTLS}} {
		for _, flood := range []string{"/flood", "/flood/known"} {
			t.Run(name+flood, func(t *testing.T) {
				t.Parallel()
				more := make(chan string)
				cut := make(chan error, 1)
				s := front(t, stalling(t, more), proxy.Config{
					WriteTimeout: 50 * time.Millisecond,
					Observe: func(o proxy.Outcome) {
						if o.Request.URL.Path == flood {
							cut <- o.Err
						}
					},
				}, configure...)
				get := func(path string) *http.Response {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					res, err := s.Client().Do(req)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = res.Body.Close() })
					return res
				}
				idle := get("/idle")
				lines := bufio.NewReader(idle.Body)
				more <- "before"
				if line, err := lines.ReadString('\n'); line != "before\n" {
					t.Fatalf("%q %v", line, err)
				}
				stalled := get(flood)
				err := wait(t, cut, "the stalled client to be cut off")
				if e := fairlead.AsError(err); e == nil || e.Code != fairlead.Cancelled {
					t.Errorf("the outcome is %v", err)
				}
				if _, err := io.Copy(io.Discard, stalled.Body); err == nil {
					t.Error("the response that was cut off has an end")
				}
				more <- "after" // longer after the last write than the timeout
				if line, err := lines.ReadString('\n'); line != "after\n" {
					t.Errorf("%q %v", line, err)
				}
				if body, err := io.ReadAll(get("/small").Body); string(body) != "small" {
					t.Errorf("%q %v", body, err)
				}
			})
		}
	}
}

// plain is a writer without deadlines that takes its time.
type plain struct {
	http.ResponseWriter
	gate <-chan struct{}
	once sync.Once
}

func (p *plain) Write(b []byte) (int, error) {
	p.once.Do(func() { <-p.gate })
	return p.ResponseWriter.Write(b)
}

func TestAWriterWithoutDeadlinesIsWaitedFor(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	timer := time.AfterFunc(20*time.Millisecond, func() { close(gate) })
	defer timer.Stop()
	h := handler(t, stalling(t, nil), proxy.Config{WriteTimeout: time.Millisecond})
	recorded := httptest.NewRecorder()
	h.ServeHTTP(&plain{ResponseWriter: recorded, gate: gate}, httptest.NewRequest(http.MethodGet, "/small", nil))
	if recorded.Body.String() != "small" {
		t.Errorf("%q", recorded.Body)
	}
}

// gone is a client that has left without a word.
type gone struct{ *httptest.ResponseRecorder }

func (gone) FlushError() error { return errors.New("gone") }

func TestAResponseWhoseEndCannotBeSentIsBrokenOff(t *testing.T) {
	t.Parallel()
	sized := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "sized")
	}))
	h := handler(t, sized, proxy.Config{})
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			t.Errorf("it panicked with %v", p)
		}
	}()
	h.ServeHTTP(gone{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
}
