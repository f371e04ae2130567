package upstream

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestAHealthThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		h    Health
		want string // in the error; empty: none
	}{
		{Health{}, ""},
		{Config{}.withDefaults().Health, ""},
		{Config{Health: Health{Path: "/healthz?full=1"}}.withDefaults().Health, ""},
		{Config{Health: Health{Kind: "grpc", Service: "a.B"}}.withDefaults().Health, ""},
		{Config{Health: Health{Kind: "tcp"}}.withDefaults().Health, ""},
		{Health{Kind: "ping"}, "http, tcp or grpc"},
		{Health{Path: "healthz"}, "must begin with /"},
		{Health{Path: "/a#b"}, "no fragment"},
		{Health{Path: "/a\x7f"}, "escape"},
		{Health{Kind: "tcp", Path: "/healthz"}, "set the kind to http"},
		{Health{Kind: "http", Service: "a.B"}, "set the kind to grpc"},
		{Health{Kind: "tcp", Interval: -1}, "interval of -1ns is shorter"},
		{Health{Kind: "tcp", UnhealthyInterval: 5}, "unhealthy of 5ns is shorter"},
		{Health{Kind: "tcp", Timeout: -1}, "timeout of -1ns is shorter"},
		{Health{Kind: "tcp", Unhealthy: -1}, "1 or more"},
		{Health{Kind: "tcp", Healthy: -1}, "1 or more"},
		{Health{Kind: "tcp", Interval: time.Second, Timeout: 2 * time.Second}, "at most that"},
	} {
		err := c.h.validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.h, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.h, err, c.want)
		}
	}
}

// change is a report, and when it came.
type change struct {
	after   time.Duration
	healthy bool
	why     string
}

// watch runs a checker of kind tcp whose dials are answered by dial, and
// returns after d what it reported.
func watch(t *testing.T, cfg Health, d time.Duration, dial func(ctx context.Context) (net.Conn, error)) []change {
	t.Helper()
	cfg.Kind = "tcp"
	began := time.Now()
	var changes []change
	c := &checker{
		cfg: Config{Health: cfg}.withDefaults().Health, endpoint: Endpoint{Scheme: "http", Host: "any.test"}, dial: dial,
		report: func(healthy bool, why string) { changes = append(changes, change{time.Since(began), healthy, why}) },
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	c.run(ctx)
	if took := time.Since(began); took != d {
		t.Errorf("run returned after %v, not with its context after %v", took, d)
	}
	return changes
}

var errDown = errors.New("connection refused")

func within(d, want time.Duration) bool { return d >= want-want/10 && d <= want+want/10 }

func TestChecksKeepTheirIntervalsAndThresholds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration // of each check
		changes := watch(t, Health{}, 5*time.Minute, func(context.Context) (net.Conn, error) {
			at = append(at, time.Since(began))
			if n := len(at); n == 4 || n == 5 || n >= 10 && n <= 16 || n == 18 {
				return nil, errDown
			}
			c, _ := net.Pipe()
			return c, nil
		})
		if len(at) < 50 || at[0] > 500*time.Millisecond {
			t.Fatalf("checks after %v", at)
		}
		gaps := make(map[time.Duration]bool)
		for i, after := range at[1:] {
			want := 5 * time.Second
			if n := i + 1; n >= 12 && n <= 19 { // the 12th took it out, the 20th brings it back
				want = time.Second
			}
			gap := after - at[i]
			if !within(gap, want) {
				t.Errorf("check %d came %v after the one before", i+2, gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < 40 {
			t.Errorf("only %d of %d intervals differ", len(gaps), len(at)-1)
		}
		want := []change{
			{at[11], false, "3 checks in a row failed: dial: connection refused"},
			{at[19], true, "2 checks in a row succeeded"},
		}
		if len(changes) != 2 || changes[0] != want[0] || changes[1] != want[1] {
			t.Errorf("reported %v, want %v", changes, want)
		}
	})
}

func TestOneCheckMaySuffice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		changes := watch(t, Health{Unhealthy: 1, Healthy: 1}, 20*time.Second, func(context.Context) (net.Conn, error) {
			if n++; n == 1 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errDown}
			}
			c, _ := net.Pipe()
			return c, nil
		})
		if len(changes) != 2 || changes[0].why != "a check failed: dial: connection refused" || changes[1].why != "a check succeeded" {
			t.Errorf("reported %v", changes)
		}
	})
}

func TestAnEndpointThatDoesNotAnswerIsGivenUpAfterTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, under := time.Now(), 0
		var at []time.Duration
		changes := watch(t, Health{}, time.Minute, func(ctx context.Context) (net.Conn, error) {
			if under++; under > 1 {
				t.Error("two checks at once")
			}
			defer func() { under-- }()
			at = append(at, time.Since(began))
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if len(changes) != 1 || changes[0].after != at[2]+2*time.Second || changes[0].why != "3 checks in a row failed: dial: no answer within 2 s" {
			t.Errorf("reported %v; checks after %v", changes, at)
		}
		for i, after := range at[1:] {
			gap := after - at[i]
			if i < 2 && !within(gap, 5*time.Second) || i >= 2 && gap != 2*time.Second { // longer than the unhealthy interval
				t.Errorf("check %d came %v after the one before", i+2, gap)
			}
		}
	})
}

// httpServer serves h in memory, over TLS if wanted, until the end of the test.
func httpServer(t *testing.T, overTLS, h2 bool, h http.Handler) (dial func(context.Context) (net.Conn, error), cfg *tls.Config) {
	t.Helper()
	network := memnet.New()
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = network
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(!h2)
	s.Config.Protocols.SetHTTP2(h2)
	s.Config.Protocols.SetUnencryptedHTTP2(h2)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = h2
	if overTLS {
		s.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		cfg = &tls.Config{RootCAs: pool}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return func(ctx context.Context) (net.Conn, error) { return network.Dial(ctx, "", "") }, cfg
}

// once makes one check, and returns what is wrong.
func once(t *testing.T, h Health, e Endpoint, cfg *tls.Config, dial func(context.Context) (net.Conn, error)) string {
	t.Helper()
	c := &checker{cfg: Config{Health: h}.withDefaults().Health, endpoint: e, tls: cfg, dial: dial}
	if err := c.check(t.Context()); err != nil {
		return err.Error()
	}
	return ""
}

func TestAnHTTPCheckAsksInTheEndpointsProtocol(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme    string
		host      string
		tls, h2   bool
		wantProto string
	}{
		{"http", "any.test:8080", false, false, "HTTP/1.1"},
		{"unix", "localhost", false, false, "HTTP/1.1"},
		{"h2c", "any.test", false, true, "HTTP/2.0"},
		{"https", "example.com", true, false, "HTTP/1.1"},
		{"https", "example.com:8443", true, true, "HTTP/2.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var seen []string
			dial, cfg := httpServer(t, c.tls, c.h2, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Proto+" "+r.Method+" "+r.Host+r.RequestURI+" "+r.UserAgent()+" "+r.Header.Get("Accept-Encoding"))
				if r.ProtoMajor == 1 && !r.Close {
					t.Error("the connection was to be kept")
				}
			}))
			e := Endpoint{Scheme: c.scheme, Host: c.host, Base: "/base"}
			for range 2 {
				if why := once(t, Health{Path: "/healthz?full=%20"}, e, cfg, dial); why != "" {
					t.Errorf("%s: %s", e, why)
				}
			}
			synctest.Wait()
			want := c.wantProto + " GET " + c.host + "/healthz?full=%20 fairlead-health "
			if len(seen) != 2 || seen[0] != want || seen[1] != want {
				t.Errorf("%s: asked %q, want %q", e, seen, want)
			}
		})
	}
}

func TestTheAnswerToAnHTTPCheckDecides(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}
	}
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"200":               {status(200), ""},
		"204":               {status(204), ""},
		"302, not followed": {status(302), ""},
		"404":               {status(404), "GET /: 404 Not Found"},
		"503":               {status(503), "GET /: 503 Service Unavailable"},
		"a long body": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, ""},
		"a broken body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
		}, "GET /: the server closed the connection before it had answered"},
		"none": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, "GET /: the server closed the connection before it had answered"},
		"no header": {raw("HTTP/1.1 200 OK\r\nSet-Cookie secret\r\n\r\n"), "GET /: net/http: HTTP/1.x transport connection broken: malformed header"},
		"no status": {raw("HTTP/1.1 secret\r\n\r\n"), "GET /: net/http: HTTP/1.x transport connection broken: malformed HTTP status code"},
		"no length": {raw("HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n"), "GET /: net/http: HTTP/1.x transport connection broken: bad Content-Length"},
		"late": {func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, "GET /: no answer within 2 s"},
		"a late body": {func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "GET /: no answer within 2 s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			dial, _ := httpServer(t, false, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				c.answer(w, r)
			}))
			why := once(t, Health{Kind: "http"}, Endpoint{Scheme: "http", Host: "any.test"}, nil, dial)
			synctest.Wait()
			if why != c.want || asked != 1 {
				t.Errorf("%s: %q after %d requests, want %q", name, why, asked, c.want)
			}
		})
	}
}

func TestAPeerThatReadsNothingEndsTheCheckInTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, scheme, want string
	}{
		{"http", "http", "GET /: no answer within 2 s"},
		{"http", "h2c", "GET /: no answer within 2 s"},
		{"grpc", "h2c", "gRPC health check: no answer within 2 s"},
		{"http", "https", "TLS handshake: no answer within 2 s"},
		{"tcp", "https", "TLS handshake: no answer within 2 s"},
		{"tcp", "http", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ours, theirs := net.Pipe()
			defer theirs.Close()
			why := once(t, Health{Kind: c.kind}, Endpoint{Scheme: c.scheme, Host: "any.test"}, nil, func(context.Context) (net.Conn, error) { return ours, nil })
			if took := time.Since(began); why != c.want || why != "" && took != 2*time.Second {
				t.Errorf("%s to %s: %q after %v, want %q", c.kind, c.scheme, why, took, c.want)
			}
			if _, err := ours.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s to %s: the connection is still open: %v", c.kind, c.scheme, err)
			}
		})
	}
}

func TestACheckUnderWayEndsWithRunAndIsNotReported(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http", "grpc"} {
		synctest.Test(t, func(t *testing.T) {
			left := make(chan struct{})
			dial, _ := httpServer(t, false, kind == "grpc", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				close(left)
			}))
			c := &checker{
				cfg: Config{Health: Health{Kind: kind, Unhealthy: 1}}.withDefaults().Health, endpoint: Endpoint{Scheme: "http", Host: "any.test"}, dial: dial,
				report: func(bool, string) { t.Error("reported") },
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { c.run(ctx) })
			time.Sleep(time.Second) // the check began within 0.5 s
			began := time.Now()
			cancel()
			running.Wait()
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: run returned %v after its context had ended", kind, took)
			}
			<-left
		})
	}
}

func TestATLSCheckTrustsWhatThePoolTrusts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dial, cfg := httpServer(t, true, true, http.NotFoundHandler())
		e := Endpoint{Scheme: "https", Host: "example.com"}
		if why := once(t, Health{Kind: "tcp"}, e, cfg, dial); why != "" {
			t.Error(why)
		}
		e.Host = "other.test"
		if why := once(t, Health{Kind: "tcp"}, e, cfg, dial); !strings.HasPrefix(why, "TLS handshake: tls: failed to verify certificate") {
			t.Error(why)
		}
		cfg.ServerName = "example.com"
		if why := once(t, Health{Kind: "tcp"}, e, cfg, dial); why != "" {
			t.Error(why)
		}
	})
}

func TestACertificateOfManyNamesDoesNotFillTheLog(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	for i := range 90 { // of more it tells how many
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("%d.example.com", i))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}
	why := once(t, Health{}, Endpoint{Scheme: "https", Host: "other.test"}, nil, dial)
	if !strings.HasPrefix(why, "TLS handshake: tls: failed to verify certificate") || len(why) > maxPlain+50 {
		t.Error(why)
	}
}

func TestARealSocketIsChecked(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	address := s.Listener.Addr().String()
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) }
	e := Endpoint{Scheme: "http", Host: address}
	for _, kind := range []string{"http", "tcp"} {
		if why := once(t, Health{Kind: kind}, e, nil, dial); why != "" {
			t.Errorf("%s: %s", kind, why)
		}
	}
	s.Close()
	for _, kind := range []string{"http", "tcp"} {
		if why := once(t, Health{Kind: kind}, e, nil, dial); why != "dial: connect: connection refused" {
			t.Errorf("%s: %s", kind, why)
		}
	}
}
