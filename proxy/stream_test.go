package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
)

func TestEachReadOfAStreamIsFlushed(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"of unknown length": "", "of known length": "12"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for i := range 3 {
					_, _ = fmt.Fprintf(w, "it %d", i)
					_ = http.NewResponseController(w).Flush()
					<-next
				}
			}))
			res := get(t, front(t, up, proxy.Config{}), http.MethodGet, nil)
			for i := range 3 {
				buf := make([]byte, 4)
				if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != fmt.Sprintf("it %d", i) {
					t.Fatalf("%q, %v", buf, err)
				}
				next <- struct{}{}
			}
		})
	}
}

// get sends a request to s by its own client and closes the body at the end.
func get(t *testing.T, s *httptest.Server, method string, body io.Reader) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, s.URL, body)
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

func TestTrailersPassBothWays(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Told")
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", body, err)
		w.Header().Set("Told", "yes")
		for k, v := range r.Trailer {
			w.Header()[http.TrailerPrefix+"Echo-"+k] = v
		}
	})
	for name, c := range map[string]struct {
		up, front []func(*httptest.Server)
		untold    string
	}{
		"HTTP/1.1": {untold: "u"},
		"HTTP/2":   {up: []func(*httptest.Server){overTLS}, front: []func(*httptest.Server){overTLS}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := front(t, serve(t, handler, c.up...), proxy.Config{}, c.front...)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, io.MultiReader(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			req.Trailer = http.Header{"Sum": {"42"}}
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != "body <nil>" {
				t.Fatalf("%q, %v", body, err)
			}
			if res.Trailer.Get("Told") != "yes" || res.Trailer.Get("Echo-Sum") != "42" {
				t.Errorf("trailers %v", res.Trailer)
			}
		})
	}
	t.Run("not announced", func(t *testing.T) {
		t.Parallel()
		s := front(t, serve(t, handler), proxy.Config{})
		c := dial(t, s).send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" +
			"Untold: u\r\nAuthorization: stolen\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
		res := c.response()
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		if res.Trailer.Get("Echo-Untold") != "u" {
			t.Errorf("trailers %v", res.Trailer)
		}
		if res.Trailer.Get("Echo-Authorization") != "" || res.Trailer.Get("Echo-X-Forwarded-For") != "" {
			t.Errorf("a field that vouches passed as a trailer: %v", res.Trailer)
		}
	})
}

func TestInterimResponsesPass(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.WriteHeader(http.StatusNoContent)
	}))
	var inner http.Handler
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Outer", "kept")
		inner.ServeHTTP(w, r)
	}))
	inner = handler(t, up, proxy.Config{})
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, header["Link"]))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if fmt.Sprint(hints) != "[103 [</a.css>; rel=preload]]" {
		t.Errorf("hints %v", hints)
	}
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Link") != "" || res.Header.Get("X-Outer") != "kept" {
		t.Errorf("final: %d %v", res.StatusCode, res.Header)
	}
	old, _ := exchange(t, s, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	if old.StatusCode != http.StatusNoContent {
		t.Errorf("an HTTP/1.0 client was sent %d first", old.StatusCode)
	}
}

// handler returns a proxy before upstream, for a server of the test's own.
func handler(t *testing.T, upstream *httptest.Server, cfg proxy.Config) *proxy.Handler {
	t.Helper()
	tr := proxy.NewTransport()
	t.Cleanup(tr.CloseIdleConnections)
	cfg.Transport = tr
	cfg.Target = target(t, upstream.URL)
	return proxy.New(cfg)
}

func TestABodyIsAskedForOnlyWhenTheUpstreamWantsIt(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	s := front(t, up, proxy.Config{})
	head := " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	c := dial(t, s).send("POST /yes" + head)
	if res := c.response(); res.StatusCode != http.StatusContinue {
		t.Fatalf("status %d, want 100", res.StatusCode)
	}
	res := c.send("body").response()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "body" || res.StatusCode != http.StatusOK {
		t.Errorf("%d %q %v", res.StatusCode, body, err)
	}
	if res := dial(t, s).send("POST /no" + head).response(); res.StatusCode != http.StatusExpectationFailed {
		t.Errorf("status %d, want 417 without a 100", res.StatusCode)
	}
}

func TestBothBodiesFlowAtOnce(t *testing.T) {
	t.Parallel()
	up := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); _ = rc.Flush() {
			_, _ = fmt.Fprintf(w, "heard %s\n", lines.Text())
		}
	})
	for name, configure := range map[string][]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overTLS}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, speak := io.Pipe()
			defer speak.Close()
			res := get(t, front(t, serve(t, up, configure...), proxy.Config{}, configure...), http.MethodPost, body)
			hear := bufio.NewReader(res.Body)
			for i := range 3 {
				_, _ = fmt.Fprintf(speak, "%d\n", i)
				if line, err := hear.ReadString('\n'); err != nil || line != fmt.Sprintf("heard %d\n", i) {
					t.Fatalf("%q, %v", line, err)
				}
			}
			_ = speak.Close()
			if _, err := hear.ReadString('\n'); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestAnEarlyAnswerDoesNotWaitForTheUpload(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	c := dial(t, front(t, up, proxy.Config{}))
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly this")
	if res := c.response(); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestABodyThatBreaksOffIsNoEnd(t *testing.T) {
	t.Parallel()
	broken := map[string]http.HandlerFunc{
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data: half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"of known length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "data: half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	}
	for kind, h := range broken {
		for name, configure := range map[string][]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overTLS}} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				outcomes := make(chan proxy.Outcome, 1)
				s := front(t, serve(t, h, configure...), proxy.Config{Observe: func(o proxy.Outcome) { outcomes <- o }}, configure...)
				res, err := s.Client().Get(s.URL)
				if err == nil { // else it broke before the header went out
					_, err = io.ReadAll(res.Body)
					_ = res.Body.Close()
				}
				if err == nil {
					t.Error("a clean end")
				}
				o := wait(t, outcomes, "the outcome")
				if fairlead.AsError(o.Err).Code != fairlead.Fault || o.Status != http.StatusOK {
					t.Errorf("outcome %d %v", o.Status, o.Err)
				}
			})
		}
	}
}

func TestABodyThatBreaksOffIsNoEndUnderAnyServer(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the very value is the contract
			t.Errorf("recovered %v", v)
		}
	}()
	// A recorder is no net/http server, and neither is that of HTTP/3.
	handler(t, up, proxy.Config{}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

func TestAClientThatLeavesCancelsTheUpstream(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string][]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overTLS}} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s begun %t", name, begun), func(t *testing.T) {
				t.Parallel()
				arrived, left := make(chan struct{}), make(chan struct{})
				up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if begun {
						_ = http.NewResponseController(w).Flush()
					}
					close(arrived)
					<-r.Context().Done()
					close(left)
				}), configure...)
				outcomes := make(chan proxy.Outcome, 1)
				s := front(t, up, proxy.Config{Observe: func(o proxy.Outcome) { outcomes <- o }}, configure...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					wait(t, arrived, "the request")
					if !begun {
						cancel()
					}
				}()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				if res, err := s.Client().Do(req); err == nil {
					cancel()
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				wait(t, left, "the upstream to be cancelled")
				o := wait(t, outcomes, "the outcome")
				if fairlead.AsError(o.Err).Code != fairlead.Cancelled || (o.Status != 0) != begun {
					t.Errorf("outcome %d %v", o.Status, o.Err)
				}
			})
		}
	}
}

func TestARequestBodyIsStreamed(t *testing.T) {
	t.Parallel()
	first := make(chan string, 1)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, buf)
		first <- string(buf)
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}))
	c := dial(t, front(t, up, proxy.Config{})).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nfirst")
	if got := wait(t, first, "the first part"); got != "first" {
		t.Fatal(got)
	}
	res := c.send("two").response()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "3" {
		t.Errorf("%q %v", body, err)
	}
}

// listen starts a TCP server that gives each connection to f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}
