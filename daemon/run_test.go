package daemon_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestAnUpstreamIsServedUnchangedAndItsStreamResumesAfterADrop(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	if status, text := answer(t, http.MethodGet, p.http+"/a/b?c", ""); status != 200 || text != "hello from "+strings.TrimPrefix(up.URL, "http://")+"/a/b" {
		t.Errorf("%d %q", status, text)
	}
	first := stream(t, p.http+"/stream")
	up.lines <- "one"
	up.lines <- "two"
	first.want("one")
	id := first.want("two")
	_ = first.res.Body.Close()
	up.lines <- "three"
	again := stream(t, p.http+"/stream", "Last-Event-ID", id)
	again.want("three")
	up.lines <- "four"
	again.want("four")
	close(up.lines)
	if _, _, data, err := again.next(); err != io.EOF || data != "" { //nolint:errorlint // as it comes from bufio
		t.Errorf("after the end: %q, %v", data, err)
	}
	if up.called() != 1 {
		t.Errorf("the upstream was called %d times", up.called())
	}
	if status, _ := answer(t, http.MethodGet, p.http+"/topics/x", ""); status != 200 {
		t.Error("the upstream's URL space is not its own")
	}
}

func TestNoStreamIDCredentialOrQueryIsLogged(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	s := stream(t, p.http+"/stream?after=secret1&key=secret2", "Authorization", "Bearer secret3", "Idempotency-Key", "secret4")
	location := s.res.Header.Get("Content-Location")
	id := location[strings.LastIndexByte(location, '/')+1:]
	up.lines <- "secret5"
	last := s.want("secret5")
	replay := stream(t, p.http+location+"?after="+last, "Authorization", "Bearer secret3")
	close(up.lines)
	if _, kind, _, err := replay.next(); err != nil || kind != "fairlead.end" {
		t.Errorf("event %q, %v", kind, err)
	}
	page := connections(t, p)
	if len(page.Captured) != 1 || strings.Contains(id, page.Captured[0]["stream"].(string)) { //nolint:errcheck // it is text
		t.Errorf("captured: %v", page.Captured)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	log := p.log.String()
	for _, secret := range []string{id, "secret"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %s:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, `"path":"/.well-known/fairlead/streams/…"`) || !strings.Contains(log, `"route":"/**"`) {
		t.Errorf("the log does not tell of the requests:\n%s", log)
	}
}

func TestRequestsForOtherHostsAreRefused(t *testing.T) {
	p := start(t, "hosts: [api.example.com]", daemon.Options{})
	for host, want := range map[string]int{
		"localhost:1": 404, "a.localhost": 404, "127.0.0.1": 404, "[::1]:80": 404, "API.example.com:8080": 404,
		"evil.example": 421, "10.0.0.1": 421, "localhost.evil.example": 421,
	} {
		for _, base := range []string{p.http, p.admin} {
			if status, _ := answer(t, http.MethodGet, base+"/nothing", "", "Host", host); status != want {
				t.Errorf("Host %s at %s: %d, want %d", host, base, status, want)
			}
		}
	}
}

// raw sends bytes and returns the first line of the answer.
func raw(t *testing.T, base, text string) string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestItIsNoForwardProxyAndBoundsHeaders(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	host := strings.TrimPrefix(p.http, "http://")
	for text, want := range map[string]string{
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n":                      "HTTP/1.1 405 Method Not Allowed",
		"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n":                          "HTTP/1.1 421 Misdirected Request",
		"GET http://example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n":                            "HTTP/1.1 421 Misdirected Request",
		"GET http://" + host + "/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n":                       "HTTP/1.1 200 OK",
		"GET / HTTP/1.1\r\nHost: " + host + "\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n": "HTTP/1.1 431 Request Header Fields Too Large",
		"OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\n\r\n":                                       "HTTP/1.1 200 OK",
		"GET /nothing HTTP/1.1\r\n\r\n":                                                          "HTTP/1.1 400 Bad Request: missing required Host header",
	} {
		if got := raw(t, p.http, text); got != want {
			t.Errorf("%.60q: %s, want %s", text, got, want)
		}
	}
}

func TestTheMostSpecificRouteServesAlsoAroundDotSegments(t *testing.T) {
	a, b := newUpstream(t), newUpstream(t)
	p := start(t, `
upstreams:
  a: {endpoints: ["`+a.URL+`/a"]}
  b: {endpoints: ["`+b.URL+`/b"], preserve_host: true}
routes:
  - {path: /**, upstream: a}
  - {path: /v1/*, upstream: b}
`, daemon.Options{})
	hostA, hostB := strings.TrimPrefix(a.URL, "http://"), strings.TrimPrefix(p.http, "http://")
	for path, want := range map[string]string{
		"/x": "hello from " + hostA + "/a/x", "/v1/x": "hello from " + hostB + "/b/v1/x", "/v1/x/y": "hello from " + hostA + "/a/v1/x/y",
	} {
		if status, text := answer(t, http.MethodGet, p.http+path, ""); status != 200 || text != want {
			t.Errorf("%s: %d %q, want %q", path, status, text, want)
		}
	}
	// Through b, whose own answer to such a path is to redirect.
	if got := raw(t, p.http, "GET /a/../v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"); got != "HTTP/1.1 307 Temporary Redirect" {
		t.Errorf("around dot segments: %s", got)
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(p.log.String(), `"path":"/a/../v1/x","route":"/v1/*"`) })
}

func TestTheDemoCallsItsAPIOnceForAnAnswerThatWasDropped(t *testing.T) {
	p := start(t, "", daemon.Options{})
	status, page := answer(t, http.MethodGet, p.http+"/", "")
	if status != 200 || !strings.Contains(page, "EventSource") {
		t.Errorf("page: %d", status)
	}
	first := stream(t, p.http+"/demo/answer")
	id, _, one, err := first.next()
	if err != nil || !strings.Contains(one, `"n":1,`) {
		t.Fatalf("%s, %v", one, err)
	}
	_ = first.res.Body.Close()
	again := stream(t, p.http+"/demo/answer", "Last-Event-ID", id)
	if _, _, two, err := again.next(); err != nil || !strings.Contains(two, `"n":2,`) || !strings.Contains(two, `"call":1}`) {
		t.Errorf("%s, %v", two, err)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	p := start(t, "", daemon.Options{})
	taken := strings.TrimPrefix(p.http, "http://")
	off := ""
	err := daemon.Run(t.Context(), daemon.Options{HTTP: &taken, Admin: &off}, daemon.Process{Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "--http takes another address") {
		t.Errorf("error %v", err)
	}
}

func TestTheEndOfTheContextDropsEverythingAtOnce(t *testing.T) {
	up := newUpstream(t)
	ctx, cancel := context.WithCancel(t.Context())
	free := "127.0.0.1:0"
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{Upstreams: []string{up.URL}, HTTP: &free, Admin: new(string)},
			daemon.Process{Stdout: w, Stderr: io.Discard, Signals: make(chan os.Signal)})
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	s := stream(t, strings.TrimSpace(strings.TrimPrefix(line, "http "))+"/stream")
	up.lines <- "one"
	s.want("one")
	cancel()
	if _, _, _, err := s.next(); err == nil || err == io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the stream that was cut off ended with %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("no error says that it did not drain")
	}
	_ = w.Close()
}

func TestTheAdminListenerTellsWhatThereIs(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	page := connections(t, p)
	if page.InFlight["/**"] != 1 || len(page.Captured) != 1 || page.Captured[0]["state"] != "live" {
		t.Errorf("connections: %+v", page)
	}
	for path, want := range map[string]string{
		"/": "POST /drain", "/healthz": "ok", "/readyz": "ready", "/topics": `"total": 0`,
		"/metrics": `fairlead_http_requests_in_flight{route="/**"} 1`,
	} {
		if status, text := answer(t, http.MethodGet, p.admin+path, ""); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _ := answer(t, http.MethodGet, p.admin+"/drain", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET /drain: %d", status)
	}
	for _, header := range [][]string{{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}} {
		if status, _ := answer(t, http.MethodPost, p.admin+"/drain", "", header...); status != http.StatusForbidden {
			t.Errorf("POST /drain with %v: %d", header, status)
		}
	}
	close(up.lines)
}

func TestTheAdminTokenGuardsAllButTheProbes(t *testing.T) {
	p := start(t, "admin_token: hush", daemon.Options{})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 401, "/metrics": 401, "/connections": 401, "/topics": 401} {
		if status, _ := answer(t, http.MethodGet, p.admin+path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	for token, want := range map[string]int{"Bearer hush": 200, "bearer hush": 200, "Bearer hus": 401, "Basic hush": 401} {
		if status, _ := answer(t, http.MethodGet, p.admin+"/topics", "", "Authorization", token); status != want {
			t.Errorf("%s: %d, want %d", token, status, want)
		}
	}
}

func TestASecondSignalExitsAtOnceWithAnError(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	p.signals <- syscall.SIGINT
	eventually(t, "it is not ready any more", func() bool {
		status, _ := answer(t, http.MethodGet, p.admin+"/readyz", "")
		return status == http.StatusServiceUnavailable
	})
	p.signals <- syscall.SIGINT
	if err := p.wait(); err == nil {
		t.Error("no error")
	}
	if _, _, _, err := s.next(); err == nil || err == io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the stream that was cut off ended with %v", err)
	}
}
