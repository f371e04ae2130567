package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAFailureIsAProblemThatNamesItsCause(t *testing.T) {
	t.Parallel()
	fails := func(err error) http.RoundTripper {
		return roundTrip(func(*http.Request) (*http.Response, error) { return nil, err })
	}
	answers := func(s string) string {
		return listen(t, func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, s)
		})
	}
	impatient := proxy.NewTransport()
	impatient.ResponseHeaderTimeout = time.Millisecond
	t.Cleanup(impatient.CloseIdleConnections)
	tuned := proxy.NewTransport()
	t.Cleanup(tuned.CloseIdleConnections)
	for name, c := range map[string]struct {
		target    string
		transport http.RoundTripper
		status    int
		code      fairlead.Code
		detail    string
	}{
		"refused":    {"http://127.0.0.1:1", tuned, 502, fairlead.Unavailable, "refused"},
		"closed":     {answers(""), tuned, 502, fairlead.Unavailable, "closed"},
		"no HTTP":    {answers("SSH-2.0-x\r\n"), tuned, 502, fairlead.Unavailable, "could not be used"},
		"no status":  {answers("HTTP/1.1 +50 What\r\nContent-Length: 0\r\n\r\n"), tuned, 502, fairlead.Unavailable, "could not be used"},
		"low status": {answers("HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n"), tuned, 502, fairlead.Unavailable, "could not be used"},
		"huge":       {answers("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 2<<20) + "\r\n\r\n"), tuned, 502, fairlead.Unavailable, "could not be used"},
		"silent":     {listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), impatient, 504, fairlead.DeadlineExceeded, "in time"},
		"uninvited":  {answers("HTTP/1.1 101 Switching Protocols\r\n\r\n"), tuned, 502, fairlead.Unavailable, "could not be used"},
		"coded":      {"http://x", fails(fmt.Errorf("pool: %w", &fairlead.Error{Code: fairlead.Overloaded, Message: "the queue is full", RetryAfter: 1500 * time.Millisecond})), 503, fairlead.Overloaded, "the queue is full"},
		"deadline":   {"http://x", fails(context.DeadlineExceeded), 504, fairlead.DeadlineExceeded, "in time"},
		"unresolved": {"http://x", fails(&net.OpError{Op: "dial", Err: errors.New("lookup secret.internal")}), 502, fairlead.Unavailable, "reached"},
		"no target":  {"/only/a/path", tuned, 500, fairlead.Internal, "Config.Target"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, proxy.New(proxy.Config{Target: target(t, c.target), Transport: c.transport}))
			res, body := exchange(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			var p struct {
				Title, Detail string
				Status        int
				Code          fairlead.Code
			}
			if err := json.Unmarshal([]byte(body), &p); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if res.StatusCode != c.status || p.Status != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.detail) || p.Title == "" {
				t.Errorf("%d %+v", res.StatusCode, p)
			}
			if res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", res.Header)
			}
			if strings.Contains(body, "127.0.0.1") || strings.Contains(body, "secret") {
				t.Errorf("the answer names an address: %s", body)
			}
			if c.code == fairlead.Overloaded && res.Header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		})
	}
}

func TestABodyOverTheServersLimitIsTooLarge(t *testing.T) {
	t.Parallel()
	inner := handler(t, serve(t, http.HandlerFunc(mirror)), proxy.Config{})
	s := serve(t, http.MaxBytesHandler(inner, 10))
	res, body := exchange(t, s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n01234567890123456789")
	if res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, "10 bytes") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	res, body = exchange(t, s, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestABodyThatStoppedComingIsARequestTimeout(t *testing.T) {
	t.Parallel()
	h := handler(t, serve(t, http.HandlerFunc(mirror)), proxy.Config{})
	for name, length := range map[string]int64{"of a known length": 10, "of an unknown one": -1} {
		body := io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(fmt.Errorf("listen: body: %w", os.ErrDeadlineExceeded)))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		r.ContentLength = length
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusRequestTimeout || !strings.Contains(w.Body.String(), "stopped coming") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestATransportMayAbortTheClient(t *testing.T) {
	t.Parallel()
	s := serve(t, proxy.New(proxy.Config{
		Target:    target(t, "http://x"),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, http.ErrAbortHandler }),
	}))
	c := dial(t, s).send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := http.ReadResponse(c.Reader, nil); err == nil {
		t.Error("there was an answer")
	}
}

func TestOnErrorAnswersInstead(t *testing.T) {
	t.Parallel()
	s := serve(t, proxy.New(proxy.Config{
		Target: target(t, "http://x"),
		Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("some cause")
		}),
		OnError: func(w http.ResponseWriter, r *http.Request, err error) {
			w.WriteHeader(fairlead.AsError(err).Code.HTTPStatus())
			_, _ = fmt.Fprintf(w, "%s: %v", r.URL.Path, err)
		},
	}))
	res, body := exchange(t, s, "GET /p HTTP/1.1\r\nHost: x\r\n\r\n")
	if res.StatusCode != http.StatusBadGateway || !strings.HasPrefix(body, "/p: proxy: ") || !strings.HasSuffix(body, ": some cause") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestAnAnswerBeforeTheBodyWasReadLeavesTheConnectionUsable(t *testing.T) {
	var log strings.Builder
	u, _ := url.Parse("http://" + refusedAddress(t))
	s := httptest.NewUnstartedServer(proxy.New(proxy.Config{Target: u}))
	s.Config.ErrorLog = stdlog.New(&log, "", 0)
	var connections atomic.Int32
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	for _, body := range []string{"x", strings.Repeat("x", 100_000)} {
		for range 3 {
			res, err := s.Client().Post(s.URL, "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusBadGateway {
				t.Errorf("status %d", res.StatusCode)
			}
		}
	}
	s.Close()
	if log.Len() > 0 {
		t.Errorf("the server logged %s", log.String())
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 6 requests", n)
	}
}

// refusedAddress returns an address where nothing listens.
func refusedAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestABodyThatBreaksOffIsNotAnsweredAsASuccess(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	s := front(t, up, proxy.Config{})
	for name, request := range map[string]string{
		"HTTP/1.0": "POST / HTTP/1.0\r\nContent-Length: 10\r\n\r\nab", "HTTP/1.1": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab",
		"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		c := dial(t, s).send(request)
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		if err == nil && len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 400") && !strings.HasPrefix(string(answer), "HTTP/1.0 400") {
			t.Errorf("%s: %q", name, answer)
		}
	}
}
