package capture_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/proxy"
)

// TestBehindTheProxy drives capture under package proxy, over HTTP/1.1 and
// HTTP/2: what ends a stream early must reach the client as a broken body.
func TestBehindTheProxy(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, capture.Config{}, capture.StoreConfig{})
			u, err := url.Parse("http://api.test")
			if err != nil {
				t.Fatal(err)
			}
			handler := proxy.New(proxy.Config{Target: u, Transport: f.rt})
			mux := http.NewServeMux()
			mux.Handle(capture.Prefix+"/", f.store)
			mux.Handle(capture.Prefix, f.store)
			mux.Handle("/", handler)
			front := httptest.NewUnstartedServer(mux)
			front.Config.ErrorLog = quiet
			front.EnableHTTP2 = version == "HTTP/2.0"
			front.StartTLS()
			defer front.Close()
			// Go's client repeats a request with a key when a connection that it
			// used before breaks without an answer.
			front.Client().Transport.(*http.Transport).DisableKeepAlives = version == "HTTP/1.1"
			do := func(method, path string, headers ...string) (*http.Response, error) {
				return front.Client().Do(request(t.Context(), method, front.URL+path, "", headers...))
			}

			resp, err := do("GET", "/v1/answer", "Idempotency-Key", "k")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			c := <-f.up.came
			io.WriteString(c, "data: a\n\n")
			first := next(t, resp.Body, 1)
			if resp.Proto != version || !strings.HasPrefix(first, "id: fl1") {
				t.Errorf("%s, %q", resp.Proto, first)
			}
			c.CloseWithError(errBroken)
			if rest, err := readAll(resp.Body); err == nil {
				t.Errorf("a broken upstream is a clean end after %q", rest)
			}
			again, err := do("GET", "/v1/answer", "Idempotency-Key", "k")
			if err != nil {
				t.Fatal(err)
			}
			defer again.Body.Close()
			if body, err := readAll(again.Body); err == nil || body != first {
				t.Errorf("the repeat: %q, %v", body, err)
			}

			stopped, err := do("GET", "/v1/answer", "Idempotency-Key", "k2")
			if err != nil {
				t.Fatal(err)
			}
			defer stopped.Body.Close()
			if resp, err := do("DELETE", stopped.Header.Get("Content-Location")); err != nil || resp.StatusCode != 204 {
				t.Errorf("DELETE: %v, %v", resp, err)
			}
			if _, err := readAll(stopped.Body); err == nil {
				t.Error("a cancelled stream is a clean end")
			}
			<-(<-f.up.came).req.Context().Done()

			f.up.hold = make(chan struct{})
			failed := make(chan error)
			go func() {
				resp, err := do("GET", "/v1/answer", "Idempotency-Key", "k3")
				if err == nil {
					resp.Body.Close()
				}
				failed <- err
			}()
			<-f.up.came
			if resp, err := do("DELETE", capture.Prefix+"?key=k3"); err != nil || resp.StatusCode != 204 {
				t.Errorf("DELETE: %v, %v", resp, err)
			}
			if err := <-failed; err == nil {
				t.Error("a call cancelled before its first byte has an answer")
			}
		})
	}
}
