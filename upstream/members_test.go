package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/upstream"
)

// three serves a, b and c, each by its name.
func three(t *testing.T) (*switchboard, []string) {
	t.Helper()
	b := newSwitchboard()
	var urls []string
	for _, name := range []string{"a", "b", "c"} {
		b.serve(t, name+":80", 0, named(name))
		urls = append(urls, "http://"+name+":80")
	}
	return b, urls
}

// tally asks n times, one after the other, and counts the answers by their
// first letter; errors are under "!".
func tallyOf(t *testing.T, p *upstream.Pool, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		text, err := ask(t, p, http.MethodGet, "")
		if err != nil {
			text = "!"
		}
		count[text[:1]]++
	}
	return count
}

func TestEndpointsThatJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := three(t)
		finish := make(chan struct{})
		b.serve(t, "a:80", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("a"))
			if r.Header.Get("Hold") != "" {
				_ = http.NewResponseController(w).Flush()
				<-finish
				_, _ = w.Write([]byte(" and its end"))
			}
		}))
		d := listed("a:80")
		p := b.pool(t, upstream.Config{Resolver: d})
		synctest.Wait()
		held, err := begin(t, p, http.MethodGet, "", "Hold", "yes")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, p, http.MethodGet, ""); err != nil {
			t.Fatal(err)
		}
		d.set(nil, "a:80", "b:80")
		time.Sleep(1100 * time.Millisecond)
		if e, _ := state(p, "http://b:80"); e.Share > 0.3 {
			t.Errorf("a new endpoint begins with a share of %v", e.Share)
		}
		if n := tallyOf(t, p, 200); n["b"] == 0 || n["b"] > 80 || n["!"] != 0 {
			t.Errorf("soon after b joined: %v", n)
		}
		time.Sleep(15 * time.Second)
		if n := tallyOf(t, p, 200); n["b"] < 40 || n["!"] != 0 {
			t.Errorf("later: %v", n)
		}
		d.set(nil, "b:80")
		time.Sleep(1100 * time.Millisecond)
		if n := tallyOf(t, p, 20); n["b"] != 20 {
			t.Errorf("after a left: %v", n)
		}
		if e, ok := state(p, "http://a:80"); !ok || e.State != "draining" || e.Draining != 1 || e.Idle != 0 || e.InFlight != 1 {
			t.Errorf("with a response under way: %+v", e)
		}
		close(finish)
		text, err := io.ReadAll(held.Body)
		held.Body.Close()
		if string(text) != "a and its end" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		synctest.Wait()
		if e, ok := state(p, "http://a:80"); ok {
			t.Errorf("it is still there: %+v", e)
		}
		if added, removed := happened(p, "endpoint_added"), happened(p, "endpoint_removed"); len(added) != 2 || len(removed) != 1 {
			t.Errorf("events %v %v", added, removed)
		}
		if s := p.Snapshot(); s.Closes["drain"] == 0 || s.Closes["error"] != 0 {
			t.Errorf("closes %v", s.Closes)
		}
	})
}

func TestAnErrorOfAResolverKeepsWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := three(t)
		d := listed("a:80")
		p := b.pool(t, upstream.Config{Resolver: d})
		synctest.Wait()
		d.set(errors.New("no such host"))
		time.Sleep(3500 * time.Millisecond)
		if n := tallyOf(t, p, 5); n["a"] != 5 {
			t.Errorf("%v", n)
		}
		if s := p.Snapshot(); s.ResolveError != "no such host" || len(happened(p, "resolve_failed")) != 1 {
			t.Errorf("%q, %v", s.ResolveError, happened(p, "resolve_failed"))
		}
		d.set(nil, "b:80")
		time.Sleep(1100 * time.Millisecond)
		if n := tallyOf(t, p, 5); n["b"] != 5 || p.Snapshot().ResolveError != "" {
			t.Errorf("%v, %q", n, p.Snapshot().ResolveError)
		}
	})
}

func TestAnEndpointThatTwoSourcesNameIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, urls := three(t)
		d := listed("a:80", "b:80")
		p := b.pool(t, upstream.Config{Endpoints: urls[:1], Resolver: d})
		synctest.Wait()
		if all := p.Endpoints(); len(all) != 2 {
			t.Errorf("%v", all)
		}
		d.set(nil)
		time.Sleep(1100 * time.Millisecond)
		if n := tallyOf(t, p, 5); n["a"] != 5 || len(happened(p, "endpoint_removed")) != 1 {
			t.Errorf("%v", n)
		}
	})
}

func TestOnlySoManyEndpointsAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		var hosts []string
		for i := range upstream.MaxEndpoints + 100 {
			hosts = append(hosts, fmt.Sprintf("e%d:80", i))
		}
		p := b.pool(t, upstream.Config{Resolver: listed(hosts...)})
		synctest.Wait()
		if n := len(p.Endpoints()); n != upstream.MaxEndpoints {
			t.Errorf("%d endpoints", n)
		}
	})
}

func TestAFailedConnectionHasTheSourcesAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := three(t)
		b.plug("a:80", deadLine)
		d := listed("a:80")
		d.valid = time.Hour
		p := b.pool(t, upstream.Config{Resolver: d})
		synctest.Wait()
		d.set(nil, "b:80")
		if text, err := ask(t, p, http.MethodGet, ""); err == nil {
			t.Errorf("%q", text)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := tallyOf(t, p, 3); n["b"] != 3 {
			t.Errorf("%v", n)
		}
		if len(d.asked) != 2 {
			t.Errorf("asked at %v", d.asked)
		}
	})
}

func TestWithoutEndpointsTheErrorSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := listed("a:80")
		b, _ := three(t)
		p := b.pool(t, upstream.Config{Resolver: d})
		synctest.Wait()
		d.set(nil)
		time.Sleep(2 * time.Second)
		_, err := ask(t, p, http.MethodGet, "")
		coded, ok := errors.AsType[*fairlead.Error](err)
		if !ok || coded.Code != fairlead.Unavailable || !strings.Contains(err.Error(), "no endpoint") || p.Snapshot().Refusals["no_endpoint"] != 1 {
			t.Errorf("%v, refusals %v", err, p.Snapshot().Refusals)
		}
	})
}

// faulty answers 500 while it is told to.
type faulty struct {
	name string
	bad  atomic.Bool
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if f.bad.Load() {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write([]byte(f.name))
}

func TestAnOutlierIsOutForAWhileAndComesBackSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, urls := three(t)
		a := &faulty{name: "a"}
		b.serve(t, "a:80", 0, a)
		p := b.pool(t, upstream.Config{Endpoints: urls, Balance: upstream.Balance{Policy: "round_robin"}})
		tallyOf(t, p, 9)
		a.bad.Store(true)
		if n := tallyOf(t, p, 30); n["a"] != 5 {
			t.Errorf("while a fails: %v", n)
		}
		e, _ := state(p, urls[0])
		if e.State != "ejected" || e.Idle != 0 || p.Snapshot().Closes["unhealthy"] == 0 {
			t.Errorf("%+v, closes %v", e, p.Snapshot().Closes)
		}
		a.bad.Store(false)
		time.Sleep(11500 * time.Millisecond) // 10 s ± 10 %
		e, _ = state(p, urls[0])
		if e.State != "ok" || e.Share > 0.4 {
			t.Errorf("after its time: %+v", e)
		}
		if n := tallyOf(t, p, 90); n["a"] == 0 || n["a"] > 20 {
			t.Errorf("soon after: %v", n)
		}
		if len(happened(p, "ejected")) != 1 || len(happened(p, "returned")) != 1 {
			t.Errorf("%v, %v", happened(p, "ejected"), happened(p, "returned"))
		}
	})
}

func TestNoMoreThanAShareIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, urls := three(t)
		for _, name := range []string{"a", "b", "c"} {
			f := &faulty{name: name}
			f.bad.Store(true)
			b.serve(t, name+":80", 0, f)
		}
		p := b.pool(t, upstream.Config{Endpoints: urls, Balance: upstream.Balance{Policy: "round_robin"}})
		if n := tallyOf(t, p, 60); n["!"] != 0 {
			t.Errorf("%v", n)
		}
		out := 0
		for _, e := range p.Snapshot().Endpoints {
			if e.State == "ejected" {
				out++
			}
		}
		if out != 1 || p.Snapshot().Panic {
			t.Errorf("%d of three are out", out)
		}
	})
}

func TestHealthChecksTakeEndpointsOutAndBackAndPanicServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		var ill [3]atomic.Bool
		var urls []string
		for i, name := range []string{"a", "b", "c"} {
			b.serve(t, name+":80", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/healthz" && ill[i].Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				_, _ = w.Write([]byte(name))
			}))
			urls = append(urls, "http://"+name+":80")
		}
		p := b.pool(t, upstream.Config{Endpoints: urls, Health: upstream.Health{Path: "/healthz"}, Balance: upstream.Balance{Policy: "round_robin"}})
		time.Sleep(time.Second)
		tallyOf(t, p, 6)
		ill[0].Store(true)
		time.Sleep(18 * time.Second)
		if e, _ := state(p, urls[0]); e.State != "unhealthy" || e.Idle != 0 || !strings.Contains(e.Why, "503") {
			t.Errorf("%+v", e)
		}
		if n := tallyOf(t, p, 10); n["a"] != 0 || n["!"] != 0 {
			t.Errorf("with a out: %v", n)
		}
		ill[0].Store(false)
		time.Sleep(15 * time.Second)
		if n := tallyOf(t, p, 30); n["a"] < 5 {
			t.Errorf("with a back: %v", n)
		}
		for i := range ill {
			ill[i].Store(true)
		}
		time.Sleep(20 * time.Second)
		if n := tallyOf(t, p, 9); n["!"] != 0 || len(n) != 3 || !p.Snapshot().Panic {
			t.Errorf("with all ill: %v", n)
		}
		for i := range ill {
			ill[i].Store(false)
		}
		time.Sleep(5 * time.Second)
		tallyOf(t, p, 1)
		var reasons []string
		for _, e := range happened(p, "panic") {
			reasons = append(reasons, e.Reason)
		}
		if !slices.Equal(reasons, []string{"began", "ended"}) || p.Snapshot().Panic {
			t.Errorf("panic %v", reasons)
		}
		if len(happened(p, "unhealthy")) != 4 || len(happened(p, "healthy")) != 4 {
			t.Errorf("%v, %v", happened(p, "unhealthy"), happened(p, "healthy"))
		}
	})
}

// flap plugs a server in and out each second, which breaks its connections,
// until the test ends.
func flap(t *testing.T, b *switchboard, address string, up line) {
	t.Helper()
	var mu sync.Mutex
	var conns []net.Conn
	tracked := func(ctx context.Context) (net.Conn, error) {
		c, err := up(ctx)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		}
		return c, err
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for on := true; ; on = !on {
			if on {
				b.plug(address, tracked)
			} else {
				b.plug(address, deadLine)
				mu.Lock()
				for _, c := range conns {
					_ = c.Close()
				}
				conns = nil
				mu.Unlock()
			}
			select {
			case <-done:
				return
			case <-time.After(1003 * time.Millisecond): // so that some requests are under way
			}
		}
	})
	t.Cleanup(func() { close(done); all.Wait() })
}

func TestOneBadEndpointOfThreeFailsNoRequest(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, b *switchboard, up line)
		method string
	}{
		{"refusing", func(_ *testing.T, b *switchboard, _ line) { b.plug("b:80", deadLine) }, "GET"},
		{"refusing", func(_ *testing.T, b *switchboard, _ line) { b.plug("b:80", deadLine) }, "POST"},
		{"black hole", func(_ *testing.T, b *switchboard, _ line) { b.plug("b:80", muteLine) }, "GET"},
		{"black hole", func(_ *testing.T, b *switchboard, _ line) { b.plug("b:80", muteLine) }, "POST"},
		{"closing at once", func(_ *testing.T, b *switchboard, _ line) { b.plug("b:80", cutLine) }, "GET"},
		{"flapping", func(t *testing.T, b *switchboard, up line) { flap(t, b, "b:80", up) }, "GET"},
	} {
		for _, how := range [][2]string{{"p2c", "http"}, {"round_robin", "http"}, {"p2c", "h2c"}} {
			t.Run(strings.Join([]string{c.name, c.method, how[0], how[1]}, " "), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newSwitchboard()
					for _, name := range []string{"a", "c"} {
						b.serve(t, name+":80", 0, pause(5*time.Millisecond))
					}
					served := b.serve(t, "b:80", 0, pause(5*time.Millisecond))
					c.spoil(t, b, func(ctx context.Context) (net.Conn, error) { return served.Dial(ctx, "", "") })
					p := b.pool(t, upstream.Config{
						Endpoints: []string{how[1] + "://a:80", how[1] + "://b:80", how[1] + "://c:80"},
						Balance:   upstream.Balance{Policy: how[0]},
					})
					errs := make([]error, 2000)
					took := make([]time.Duration, len(errs))
					var all sync.WaitGroup
					for i := range errs {
						all.Go(func() {
							started := time.Now()
							_, errs[i] = ask(t, p, c.method, "x")
							took[i] = time.Since(started)
						})
						time.Sleep(10 * time.Millisecond)
					}
					all.Wait()
					noErrors(t, errs)
					slices.Sort(took)
					t.Logf("p50 %s, p99 %s, most %s; %d dials of b; retries %v", took[1000], took[1980], took[1999], b.dialed("b:80"), p.Snapshot().Retries)
				})
			})
		}
	}
}

func TestAClientComesBackToItsEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newSwitchboard()
		var urls []string
		for _, name := range []string{"a", "b", "c"} {
			b.serve(t, name+":80", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Name", name)
				switch r.Header.Get("Kind") {
				case "upgrade":
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						return
					}
					defer c.Close()
					_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\nName: "+name+"\r\n\r\n")
					_, _ = io.Copy(io.Discard, c)
				case "events":
					w.Header().Set("Content-Type", "text/event-stream")
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}
			}))
			urls = append(urls, "http://"+name+":80")
		}
		sticky := b.pool(t, upstream.Config{Endpoints: urls, Balance: upstream.Balance{Policy: "sticky", Source: "where"}})
		hash := b.pool(t, upstream.Config{Endpoints: urls, Balance: upstream.Balance{Policy: "hash", Source: "header User"}, Replaces: true})
		for _, kind := range []string{"", "upgrade", "events"} {
			fields := []string{"Kind", kind}
			if kind == "upgrade" {
				fields = append(fields, "Connection", "Upgrade", "Upgrade", "x")
			}
			first, err := begin(t, sticky, http.MethodGet, "", fields...)
			if err != nil {
				t.Fatal(err)
			}
			first.Body.Close()
			cookies := first.Cookies()
			if len(cookies) != 1 || cookies[0].Name != "where" {
				t.Fatalf("%q: cookies %v", kind, cookies)
			}
			homes := map[string]bool{}
			for i := range 12 {
				again, err := begin(t, sticky, http.MethodGet, "", append(fields, "Cookie", "where="+cookies[0].Value)...)
				if err != nil {
					t.Fatal(err)
				}
				again.Body.Close()
				if again.Header.Get("Name") != first.Header.Get("Name") || len(again.Cookies()) != 0 {
					t.Errorf("%q, sticky: %s after %s, cookies %v", kind, again.Header.Get("Name"), first.Header.Get("Name"), again.Cookies())
				}
				for range 2 {
					res, err := begin(t, hash, http.MethodGet, "", append(fields, "User", fmt.Sprint(i))...)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					homes[fmt.Sprint(i, res.Header.Get("Name"))] = true
				}
			}
			if len(homes) != 12 {
				t.Errorf("%q, hash: 12 users were at %v", kind, homes)
			}
		}
	})
}
