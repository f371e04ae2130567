package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guarded is a connection each of whose methods, before it is called on, has
// another goroutine take the member's lock: if the caller holds it, or somebody
// who waits for the caller, that takes for ever.
type guarded struct {
	clientConn

	m     *member
	guard time.Duration // real time
	wrong func(method string)
	calls *atomic.Int64
}

func (g *guarded) check() {
	g.calls.Add(1)
	free := make(chan struct{})
	go func() {
		g.m.mu.Lock()
		defer g.m.mu.Unlock()
		close(free)
	}()
	select {
	case <-free:
	case <-time.After(g.guard):
		pc, _, _, _ := runtime.Caller(1)
		g.wrong(path.Ext(runtime.FuncForPC(pc).Name()))
	}
}

func (g *guarded) Reserve() error    { g.check(); return g.clientConn.Reserve() }
func (g *guarded) Available() int    { g.check(); return g.clientConn.Available() }
func (g *guarded) InFlight() int     { g.check(); return g.clientConn.InFlight() }
func (g *guarded) Err() error        { g.check(); return g.clientConn.Err() }
func (g *guarded) Close() error      { g.check(); return g.clientConn.Close() }
func (g *guarded) onChange(f func()) { g.check(); g.clientConn.onChange(f) }
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	g.check()
	return g.clientConn.RoundTrip(req)
}

// guardedPool returns a pool whose connections are guarded. It may not have
// begun to dial: no MinIdle, no sources.
func guardedPool(t *testing.T, cfg Config, guard time.Duration, wrong func(string)) (*Pool, *atomic.Int64) {
	t.Helper()
	cfg.Replaces = true
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	calls := new(atomic.Int64)
	m := (*p.members.Load())[0]
	p.wrap = func(c clientConn) clientConn { return &guarded{c, m, guard, wrong, calls} }
	return p, calls
}

func TestNoMethodOfAConnectionIsCalledWithTheLockHeld(t *testing.T) {
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/break":
			panic(http.ErrAbortHandler)
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/hang":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, "hello")
	}))
	api.Config.Protocols = new(http.Protocols)
	api.Config.Protocols.SetHTTP1(true)
	api.Config.Protocols.SetUnencryptedHTTP2(true)
	api.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 4}
	api.Start()
	defer api.Close()
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			cfg := Config{
				Endpoints: []string{scheme + api.URL[len("http"):]},
				// Few and short-lived, so that all the reasons to wait and to close occur.
				Connections: Connections{Max: 3, IdleTimeout: 20 * time.Millisecond, MaxRequests: 30, MaxAge: 200 * time.Millisecond},
				Outliers:    Outliers{Consecutive: 5, Time: 20 * time.Millisecond, MaxShare: 1},
			}
			p, calls := guardedPool(t, cfg, 10*time.Second, func(method string) { t.Errorf("%s is called with the lock held", method) })
			send := func(path string, patience time.Duration) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/"+path, nil)
				res, err := p.RoundTrip(req)
				if err != nil {
					return // some are meant to
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			var lanes sync.WaitGroup
			for lane := range 8 {
				lanes.Go(func() {
					for i := range 30 {
						switch {
						case lane == 0 && i%10 == 0:
							send("break", time.Minute)
						case lane == 1 && i%10 == 0:
							send("hang", 10*time.Millisecond)
						case lane == 2 && i > 20:
							send("bad", time.Minute)
						default:
							send("", time.Minute)
						}
					}
				})
			}
			lanes.Wait()
			eventually(t, func() bool { // the timers' turn: idle, or taken out
				s := p.Snapshot()
				return s.Endpoints[0].Idle+s.Endpoints[0].Active <= 1
			})
			for range 6 { // one after another: the endpoint is taken out
				send("bad", time.Minute)
			}
			send("", time.Minute)
			p.CloseIdleConnections()
			lanes.Go(func() { send("hang", time.Minute) })
			eventually(t, func() bool { return p.Snapshot().Endpoints[0].InFlight == 1 })
			p.Close()
			lanes.Wait()
			if calls.Load() < 500 {
				t.Errorf("only %d calls", calls.Load())
			}
			s := p.Snapshot()
			if s.Closes[string(ClosedRequests)]+s.Closes[string(ClosedAge)] == 0 || s.Closes[string(ClosedDrain)] == 0 {
				t.Errorf("closes: %v", s.Closes)
			}
		})
	}
}

// eventually waits for what timers do, for at most a real minute.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("it did not happen"))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
	}
}

func TestTheGuardSeesACallWithTheLockHeld(t *testing.T) {
	api := httptest.NewServer(http.NotFoundHandler())
	defer api.Close()
	seen := make(chan string, 1)
	p, _ := guardedPool(t, Config{Endpoints: []string{api.URL}}, 10*time.Millisecond, func(method string) { seen <- method })
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://pool/", nil)
	res, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	m := (*p.members.Load())[0]
	m.mu.Lock()
	_ = m.idle[0].cc.Available()
	m.mu.Unlock()
	if method := <-seen; method != ".Available" {
		t.Errorf("it names %s", method)
	}
}
