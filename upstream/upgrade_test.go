package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/upstream"
)

// switcher echoes after an upgrade, refuses one that says Refuse, holds what
// says Hold until its client leaves, and else tells the protocol.
func switcher(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Refuse") != "":
		http.Error(w, "no", http.StatusForbidden)
	case r.Header.Get("Hold") != "":
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.Header.Get("Upgrade") == "":
		_, _ = io.WriteString(w, r.Proto)
	default:
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	}
}

// switcherAt returns an endpoint of the kind given, the configuration of a pool
// to it, and what ends it.
func switcherAt(t *testing.T, kind string) (upstream.Config, *httptest.Server) {
	t.Helper()
	if kind == "h2c" {
		s := serve(t, nil, http.HandlerFunc(switcher))
		return upstream.Config{Endpoints: []string{"h2c" + strings.TrimPrefix(s.URL, "http")}}, s
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(switcher))
	s.EnableHTTP2 = kind == "https, HTTP/2"
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return upstream.Config{Endpoints: []string{s.URL}, TLS: trusting(s)}, s
}

// upgrade asks for another protocol.
func upgrade(ctx context.Context, p *upstream.Pool, fields ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://any/", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return p.RoundTrip(req)
}

// echoes asks for another protocol and uses it.
func echoes(t *testing.T, p *upstream.Pool, text string) io.ReadWriteCloser {
	t.Helper()
	res, err := upgrade(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	other, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("%s, %T", res.Status, res.Body)
	}
	if _, err := io.WriteString(other, text+"\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(other).ReadString('\n'); line != text+"\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return other
}

// until waits for what happens on another goroutine.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	vain := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-vain:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestAnUpgradePassesBesideRequestsOverHTTP2(t *testing.T) {
	t.Parallel()
	for kind, proto := range map[string]string{"https, HTTP/2": "HTTP/2.0", "https, HTTP/1.1": "HTTP/1.1", "h2c": "HTTP/2.0"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg, _ := switcherAt(t, kind)
			p := tlsPool(t, cfg)
			var all sync.WaitGroup
			open := make(chan io.Closer, 8)
			for n := range cap(open) {
				all.Go(func() { open <- echoes(t, p, fmt.Sprint("number ", n)) })
				all.Go(func() {
					if _, text := do(t, p, http.MethodGet, "http://any/", nil); text != proto {
						t.Errorf("a plain request went over %q", text)
					}
				})
			}
			all.Wait()
			states := map[string]int{}
			for _, c := range p.Connections(100) {
				states[c.State+" "+c.Protocol]++
			}
			if e := p.Snapshot().Endpoints[0]; states["upgraded HTTP/1.1"] != 8 || e.InFlight != 8 || e.Active != 8 || e.Failures != 0 {
				t.Errorf("%v, %+v", states, e)
			}
			close(open)
			for c := range open {
				_ = c.Close()
			}
			until(t, "eight closed, and no dial under way", func() bool {
				s := p.Snapshot()
				return s.Closes[string(upstream.ClosedUpgrade)] == 8 && s.Endpoints[0].Dialing == 0
			})
			if _, text := do(t, p, http.MethodGet, "http://any/", nil); text != proto {
				t.Errorf("a plain request went over %q", text)
			}
		})
	}
}

func TestAnUpgradeThatIsRefusedLeavesItsConnectionForTheNext(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"https, HTTP/2", "h2c"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg, _ := switcherAt(t, kind)
			p := tlsPool(t, cfg)
			for range 3 {
				res, err := upgrade(t.Context(), p, "Refuse", "yes")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if _, text := do(t, p, http.MethodGet, "http://any/", nil); res.StatusCode != http.StatusForbidden || text != "HTTP/2.0" {
					t.Errorf("%s; then %q", res.Status, text)
				}
			}
			_ = echoes(t, p, "x").Close()
			opened := happened(p, "opened")
			if len(opened) != 2 || !strings.HasPrefix(opened[0].Why, "to be upgraded, which needs HTTP/1.1") {
				t.Errorf("opened: %+v", opened)
			}
		})
	}
}

func TestTheHandshakeForAnUpgradeOffersHTTP1Alone(t *testing.T) {
	t.Parallel()
	offers := make(chan []string, 2)
	s := tlsServer(t, true, func(c *tls.Config) {
		c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			offers <- h.SupportedProtos
			return nil, nil //nolint:nilnil // crypto/tls takes that for no change
		}
	})
	p := tlsPool(t, upstream.Config{Endpoints: []string{s.URL}, TLS: trusting(s)})
	res, err := upgrade(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := <-offers; !slices.Equal(got, []string{"http/1.1"}) {
		t.Errorf("offered %q", got)
	}
}

func TestAnEndpointThatSpeaksOnlyHTTP2IsNotBlamedForUpgrades(t *testing.T) {
	t.Parallel()
	secure := tlsServer(t, true, func(c *tls.Config) {
		c.NextProtos = []string{"h2", "x"} // with which crypto/tls insists
		c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if !slices.Contains(h.SupportedProtos, "h2") {
				return nil, errors.New("no application protocol")
			}
			return nil, nil //nolint:nilnil // crypto/tls takes that for no change
		}
	})
	plain := httptest.NewUnstartedServer(http.HandlerFunc(switcher))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	plain.Start()
	t.Cleanup(plain.Close)
	for _, endpoint := range []string{secure.URL, "h2c" + strings.TrimPrefix(plain.URL, "http")} {
		p := tlsPool(t, upstream.Config{Endpoints: []string{endpoint}, TLS: trusting(secure)})
		for range 10 {
			if res, err := upgrade(t.Context(), p); err == nil {
				if res.StatusCode == http.StatusSwitchingProtocols {
					t.Errorf("%s: %s", endpoint, res.Status)
				}
				_ = res.Body.Close()
			}
		}
		if _, text := do(t, p, http.MethodGet, "http://any/", nil); text == "" {
			t.Errorf("%s: nothing", endpoint)
		}
		if e := p.Snapshot().Endpoints[0]; e.State != "ok" || e.Failures != 0 {
			t.Errorf("%s: %+v", endpoint, e)
		}
	}
}

func TestAnUpgradeWaitsForAPlaceAmongTheConnections(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"https, HTTP/2", "h2c"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg, _ := switcherAt(t, kind)
			cfg.Connections.Max = 2
			cfg.Queue = upstream.Queue{Length: 1, Timeout: 20 * time.Second}
			p := tlsPool(t, cfg)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			hold, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://any/", nil)
			hold.Header.Set("Hold", "yes")
			held, err := p.RoundTrip(hold)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Body.Close()
			first := echoes(t, p, "first")
			second := make(chan io.Closer)
			go func() { second <- echoes(t, p, "second") }()
			until(t, "one waits", func() bool { return p.Snapshot().Endpoints[0].Waiting == 1 })
			if _, err := upgrade(t.Context(), p); codeOf(err) != fairlead.Overloaded {
				t.Errorf("beyond the queue: %v", err)
			}
			if _, text := do(t, p, http.MethodGet, "http://any/", nil); text != "HTTP/2.0" { // it need not wait behind it
				t.Errorf("a plain request went over %q", text)
			}
			_ = first.Close()
			_ = (<-second).Close()
			if most := len(p.Connections(10)); most > 2 {
				t.Errorf("%d connections", most)
			}
		})
	}
}

func TestWhatIsIdleMakesRoomForWhatItCannotCarry(t *testing.T) {
	t.Parallel()
	cfg, _ := switcherAt(t, "https, HTTP/2")
	cfg.Connections.Max = 1
	p := tlsPool(t, cfg)
	for range 3 {
		if _, text := do(t, p, http.MethodGet, "http://any/", nil); text != "HTTP/2.0" {
			t.Errorf("a plain request went over %q", text)
		}
		res, err := upgrade(t.Context(), p, "Refuse", "yes")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if s := p.Snapshot(); s.Closes[string(upstream.ClosedIdleLocal)] != 5 || s.Dials["ok"] != 6 {
		t.Errorf("closes %v, dials %v", s.Closes, s.Dials)
	}
}

func TestAKilledEndpointRefusesFurtherUpgrades(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"https, HTTP/2", "h2c"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg, s := switcherAt(t, kind)
			p := tlsPool(t, cfg)
			_ = echoes(t, p, "x").Close()
			_ = s.Listener.Close()
			_, err := upgrade(t.Context(), p)
			if err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%v", err)
			}
			if _, err = upgrade(t.Context(), p); err == nil { // which finds nobody to be connected to
				t.Error("no error")
			}
			if e := p.Snapshot().Endpoints[0]; e.State != "backoff" || e.Failures == 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func codeOf(err error) fairlead.Code {
	if e, ok := errors.AsType[*fairlead.Error](err); ok {
		return e.Code
	}
	return ""
}
