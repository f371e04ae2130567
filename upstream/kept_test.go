package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/upstream"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

func (s *sim) upgrade() (*http.Response, error) {
	req, _ := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://pool/", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	return s.RoundTrip(req)
}

func TestMaxCountsConnectionsUntilTheyAreGone(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", switching} {
		t.Run(head[:12], func(t *testing.T) {
			o := &origin{serve: func(p *peer) {
				if _, ok := p.next(); ok {
					p.send(head)
					_, _ = io.Copy(io.Discard, p.in)
				}
			}}
			inBubble(t, upstream.Config{Connections: upstream.Connections{Max: 2}}, func(t *testing.T, s *sim) {
				var open []*http.Response
				for range 2 {
					res, err := s.upgrade()
					if err != nil {
						t.Fatal(err)
					}
					open = append(open, res)
				}
				res, err := s.upgrade()
				if refusal, ok := errors.AsType[*fairlead.Error](err); !ok || refusal.Code != fairlead.Overloaded || refusal.RetryAfter == 0 {
					t.Errorf("the third: %v %v", res, err)
				}
				if n := len(o.dials()); n != 2 {
					t.Errorf("%d dials", n)
				}
				for _, res := range open {
					_ = res.Body.Close()
				}
			}, o)
		})
	}
}

func TestCloseEndsConnectionsOfAnotherProtocol(t *testing.T) {
	o := &origin{serve: func(p *peer) {
		if _, ok := p.next(); ok {
			p.send(switching)
			_, _ = io.Copy(io.Discard, p.in)
		}
	}}
	inBubble(t, upstream.Config{}, func(t *testing.T, s *sim) {
		res, err := s.upgrade()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.Close()
		synctest.Wait()
		if n := len(s.Connections(10)); n > 0 {
			t.Errorf("%d connections are open after Close", n)
		}
		_ = res.Body.Close()
	}, o)
}

func TestAWornConnectionHidesNoneThatIsIdle(t *testing.T) {
	cfg := upstream.Config{Connections: upstream.Connections{Max: 2, MaxAge: time.Minute, IdleTimeout: 50 * time.Second}}
	inBubble(t, cfg, func(t *testing.T, s *sim) {
		s.get("")
		sleep(51 * time.Second) // a probe survives: from now on 50 s are trusted
		for range 40 {
			var lanes sync.WaitGroup
			lanes.Go(func() { s.get("10ms") })
			lanes.Go(func() {
				sleep(time.Millisecond)
				s.get("10ms")
			})
			lanes.Wait()
			for range 4 {
				sleep(time.Second)
				began := time.Now()
				s.get("1ms")
				if took := time.Since(began); took > 2*time.Millisecond {
					t.Fatalf("a request alone took %v", took)
				}
			}
		}
	}, &origin{})
}

func TestAFailureAfterSecondsIsNoRaceWithAnIdleTimer(t *testing.T) {
	o := &origin{serve: func(p *peer) {
		for {
			r, ok := p.next()
			if !ok {
				return
			}
			if r.URL.Path == "/crash" {
				sleep(20 * time.Second)
				return
			}
			p.answer()
		}
	}}
	cfg := upstream.Config{Retry: upstream.Retry{Attempts: 1}}
	inBubble(t, cfg, func(t *testing.T, s *sim) {
		const crashes = 3
		for range crashes {
			s.get("")
			sleep(20 * time.Millisecond)
			if _, err := s.try(t.Context(), "crash"); err == nil {
				t.Error("no error")
			}
		}
		synctest.Wait()
		if e := s.endpoint(0); e.Failures != crashes || e.LearnedIdle != 0 {
			t.Errorf("%d failures, learned %v", e.Failures, e.LearnedIdle)
		}
		if n := s.Snapshot().Closes["error"]; n != crashes {
			t.Errorf("%d connections broke", n)
		}
	}, o)
}

func TestAPoolOfManyColdEndpointsAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &origin{before: func(context.Context) error {
			sleep(60 * time.Millisecond)
			return nil
		}}
		cfg := upstream.Config{Replaces: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return o.dial(ctx) }}
		for i := range 200 {
			cfg.Endpoints = append(cfg.Endpoints, fmt.Sprintf("http://h%d.test", i))
		}
		p, err := upstream.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		(&sim{p, t}).get("")
		if n := len(o.dials()); n != 1 {
			t.Errorf("%d dials for one request", n)
		}
		p.Close()
		for _, q := range o.peers {
			_ = q.Close()
		}
		o.serving.Wait()
	})
}

func TestPanicKeepsConnections(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	p, err := upstream.New(upstream.Config{
		Endpoints: []string{s.URL},
		Health:    upstream.Health{Path: "/healthz", Interval: 5 * time.Millisecond, Unhealthy: 1, UnhealthyInterval: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	unhealthy(p)
	for range 100 {
		do(t, p, http.MethodGet, "http://pool/", nil)
	}
	if n := p.Snapshot().Dials["ok"]; n > 5 {
		t.Errorf("%d connections for 100 requests to the only endpoint", n)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("invalid byte in chunk length") }
func (brokenBody) Close() error             { return nil }

func TestABrokenUploadBlamesNobodyAndTeachesNothing(t *testing.T) {
	s := serve(t, nil, echo("a"))
	p := pool(t, s.URL, serve(t, nil, echo("b")).URL)
	for range 20 {
		do(t, p, http.MethodGet, "http://pool/", nil)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pool/", brokenBody{})
		if res, err := p.RoundTrip(req); err == nil {
			_ = res.Body.Close()
			t.Error("no error")
		}
	}
	for _, e := range p.Snapshot().Endpoints {
		if e.State != "ok" || e.Failures != 0 || e.LearnedIdle != 0 {
			t.Errorf("%s: %s, %d failures, learned %v", e.Endpoint, e.State, e.Failures, e.LearnedIdle)
		}
	}
}

func TestEveryConnectionThatWasOpenedIsToldClosedOnce(t *testing.T) {
	s := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 5000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	p, err := upstream.New(upstream.Config{Endpoints: []string{s.URL}, Outliers: upstream.Outliers{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	var lanes sync.WaitGroup
	for range 8 {
		lanes.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/", nil)
				if res, err := p.RoundTrip(req); err == nil {
					_, _ = io.ReadFull(res.Body, make([]byte, 10))
					if i%2 == 0 {
						cancel()
					}
					_ = res.Body.Close()
				}
				cancel()
			}
		})
	}
	lanes.Wait()
	p.Close()
	closed := uint64(0)
	snapshot := p.Snapshot()
	for _, n := range snapshot.Closes {
		closed += n
	}
	if opened := snapshot.Dials["ok"]; closed != opened {
		t.Errorf("%d opened, %d closed: %v", opened, closed, snapshot.Closes)
	}
}
