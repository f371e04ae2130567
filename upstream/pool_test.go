package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/upstream"
)

func TestMain(m *testing.M) {
	if target := os.Getenv(benchTarget); target != "" {
		benchProxy(target)
		return
	}
	leak.Main(m)
}

// echo answers with what it saw of the request.
func echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Saw", name+" "+r.Proto+" "+r.Host+" "+r.RequestURI)
		_, _ = w.Write(body)
	})
}

func serve(t *testing.T, l net.Listener, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if l != nil {
		_ = s.Listener.Close()
		s.Listener = l
	}
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func pool(t *testing.T, endpoints ...string) *upstream.Pool {
	t.Helper()
	p, err := upstream.New(upstream.Config{Endpoints: endpoints, Balance: upstream.Balance{Policy: "round_robin"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func do(t *testing.T, rt http.RoundTripper, method, url string, body io.Reader) (saw, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "" // as a proxy that rewrites it
	res, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Get("Saw"), string(b)
}

// refused returns an address where nothing listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestEndpointsTakeTurns(t *testing.T) {
	a, b := serve(t, nil, echo("a")), serve(t, nil, echo("b"))
	p := pool(t, a.URL, b.URL)
	var order strings.Builder
	for range 4 {
		saw, _ := do(t, p, http.MethodGet, "http://pool/x", nil)
		order.WriteString(saw[:1])
	}
	if order.String() != "abab" {
		t.Errorf("endpoints were used in the order %q, want abab", order.String())
	}
}

func TestEachKindOfEndpointIsReachedUnderItsBasePath(t *testing.T) {
	tcp := serve(t, nil, echo("tcp"))
	host := strings.TrimPrefix(tcp.URL, "http://")
	socket := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, echo("unix"))
	for _, c := range []struct{ endpoint, url, want string }{
		{"http://" + host, "http://pool/a%2Fb?q=1", "tcp HTTP/1.1 " + host + " /a%2Fb?q=1"},
		{"http://" + host + "/base/", "http://pool/a%2Fb/", "tcp HTTP/1.1 " + host + " /base/a%2Fb/"},
		{"http://" + host + "/b%20c", "http://pool/", "tcp HTTP/1.1 " + host + " /b%20c/"},
		{"h2c://" + host + "/base", "http://pool/a", "tcp HTTP/2.0 " + host + " /base/a"},
		{"unix:" + socket, "http://pool/a?b", "unix HTTP/1.1 localhost /a?b"},
	} {
		if saw, body := do(t, pool(t, c.endpoint), http.MethodPost, c.url, strings.NewReader("hello")); saw != c.want || body != "hello" {
			t.Errorf("%s via %s: saw %q %q, want %q", c.url, c.endpoint, saw, body, c.want)
		}
	}
}

func TestARequestThatReachedNobodyGoesToTheNextEndpointWithItsBody(t *testing.T) {
	up := serve(t, nil, echo("up"))
	p := pool(t, "http://"+refused(t), "h2c://"+refused(t), "unix:"+filepath.Join(t.TempDir(), "none"), up.URL)
	body := &countingBody{Reader: strings.NewReader("kept")}
	if saw, text := do(t, p, http.MethodPost, "http://pool/x", body); !strings.HasPrefix(saw, "up ") || text != "kept" {
		t.Errorf("saw %q with the body %q", saw, text)
	}
	if n := body.closed.Load(); n != 1 {
		t.Errorf("the body was closed %d times", n)
	}
}

func TestARequestThatReachedAnEndpointIsNotSentAgain(t *testing.T) {
	var calls atomic.Int32
	broken := serve(t, nil, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		panic(http.ErrAbortHandler)
	}))
	p := pool(t, broken.URL, serve(t, nil, echo("other")).URL)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pool/", strings.NewReader("x"))
	res, err := p.RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
		t.Fatal("an aborted response is not an error")
	}
	if calls.Load() != 1 {
		t.Errorf("the endpoint was called %d times", calls.Load())
	}
}

func TestWhenNobodyListensTheErrorNamesEachEndpoint(t *testing.T) {
	a, b := refused(t), refused(t)
	body := &countingBody{Reader: strings.NewReader("kept")}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pool/", body)
	res, err := pool(t, "http://"+a, "http://"+b).RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
		t.Fatal("no error")
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "dial" || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Errorf("error %q", err)
	}
	if n := body.closed.Load(); n != 1 {
		t.Errorf("the body was closed %d times", n)
	}
}

func TestAnAnswerThatIsNoneIsAFailureOfItsEndpointAndIsNotQuoted(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"HTTP/1.1 +50 secret\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 099 secret\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 secret\r\n\r\n",
		"secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
	} {
		s := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_, _ = io.Copy(io.Discard, conn) // until the pool closes it
			_ = conn.Close()
		}))
		p, err := upstream.New(upstream.Config{Endpoints: []string{s.URL}, Retry: upstream.Retry{Attempts: 2}})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any.test/", http.NoBody)
		res, err := p.RoundTrip(req)
		if err == nil {
			t.Errorf("%q was answered with %d", answer, res.StatusCode)
			_ = res.Body.Close()
		}
		var all strings.Builder
		events, _ := p.Events(0)
		for _, e := range events {
			_, _ = fmt.Fprintf(&all, "%s: %s\n", e.Kind, e.Why)
		}
		told := all.String()
		if f := p.Snapshot().Endpoints[0].Failures; f == 0 || !strings.Contains(told, "it broke under a request") || strings.Contains(told, "secret") {
			t.Errorf("%q: %d failures, told: %s", answer, f, told)
		}
		p.Close()
	}
}

func TestACancelledRequestIsNotTriedElsewhere(t *testing.T) {
	up := serve(t, nil, echo("up"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool/", nil)
	res, err := pool(t, up.URL).RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type countingBody struct {
	io.Reader

	closed atomic.Int32
}

func (b *countingBody) Close() error { b.closed.Add(1); return nil }
