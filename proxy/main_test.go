package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/proxy"
)

func TestMain(m *testing.M) { leak.Main(m) }

// hang bounds what would otherwise wait for ever; a test that reaches it fails.
const hang = 20 * time.Second

// serve starts a server for h that ends with the test.
func serve(t testing.TB, h http.Handler, configure ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	for _, f := range configure {
		f(s)
	}
	if s.TLS != nil {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func overTLS(s *httptest.Server) { s.TLS = &tls.Config{} }

// front starts a proxy before upstream, with cfg's Target set.
func front(t testing.TB, upstream *httptest.Server, cfg proxy.Config, configure ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	cfg.Target = target(t, upstream.URL)
	if cfg.Transport == nil {
		tr := proxy.NewTransport()
		if upstream.TLS != nil {
			tr.TLSClientConfig = upstream.Client().Transport.(*http.Transport).TLSClientConfig
		}
		t.Cleanup(tr.CloseIdleConnections)
		cfg.Transport = tr
	}
	h := proxy.New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // at once
		_ = h.Close(ctx)
	})
	return serve(t, h, configure...)
}

func target(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// raw is a client that writes its own bytes.
type raw struct {
	net.Conn
	*bufio.Reader
	t testing.TB
}

func (r *raw) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func dial(t testing.TB, s *httptest.Server) *raw {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &raw{Conn: c, Reader: bufio.NewReader(c), t: t}
}

func (r *raw) send(s string) *raw {
	r.t.Helper()
	if _, err := io.WriteString(r.Conn, s); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *raw) response() *http.Response {
	r.t.Helper()
	res, err := http.ReadResponse(r.Reader, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// exchange sends one raw request and returns the response and its whole body.
func exchange(t testing.TB, s *httptest.Server, request string) (*http.Response, string) {
	t.Helper()
	c := dial(t, s).send(request)
	res := c.response()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(hang):
		t.Fatalf("waited for %s in vain", what)
		panic("unreachable")
	}
}
