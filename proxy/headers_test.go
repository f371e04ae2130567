package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/proxy"
)

// mirror answers with what it was sent: the request line and every header.
func mirror(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(w)
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "\n%s", body)
}

// lines returns what mirror said, a header a line.
func lines(t *testing.T, s *httptest.Server, request string) []string {
	t.Helper()
	res, body := exchange(t, s, request)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	return strings.Split(strings.ReplaceAll(body, "\r", ""), "\n")
}

func field(lines []string, name string) string {
	var values []string
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, name+": "); ok {
			values = append(values, v)
		}
	}
	return strings.Join(values, "|")
}

func TestFieldsOfOneConnectionDoNotPass(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Connection", "X-Up-Hop")
		h.Set("X-Up-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Proxy-Connection", "close")
		h.Set("Server", "theirs")
		h.Set("Date", "Tue, 15 Nov 1994 08:12:31 GMT")
		mirror(w, r)
	}))
	s := front(t, up, proxy.Config{})
	res, body := exchange(t, s, "GET /a?b=c;d HTTP/1.1\r\nHost: x.test\r\nConnection: X-Hop, keep-alive, TE\r\nX-Hop: 1\r\n"+
		"Keep-Alive: 300\r\nTE: trailers, deflate\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n"+
		"Upgrade: h2c\r\nX-End: kept\r\nUser-Agent: none\r\n\r\n")
	got := strings.Split(strings.ReplaceAll(body, "\r", ""), "\n")
	if got[0] != "GET /a?b=c;d" {
		t.Errorf("request line %q: the target must pass as it is", got[0])
	}
	for name, want := range map[string]string{
		"X-Hop": "", "Keep-Alive": "", "Proxy-Authorization": "", "Proxy-Connection": "", "Upgrade": "",
		"Connection": "", "Te": "trailers", "X-End": "kept", "Accept-Encoding": "", "User-Agent": "none",
		"Host": up.Listener.Addr().String(),
	} {
		if v := field(got, name); v != want {
			t.Errorf("upstream got %s %q, want %q", name, v, want)
		}
	}
	for _, name := range []string{"X-Up-Hop", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Connection"} {
		if v := res.Header.Get(name); v != "" {
			t.Errorf("client got %s %q", name, v)
		}
	}
	if res.Header.Get("Server") != "theirs" || res.Header.Get("Date") != "Tue, 15 Nov 1994 08:12:31 GMT" {
		t.Errorf("Server and Date must pass as they are: %v", res.Header)
	}
}

func TestConnectionCannotRemoveWhatTheProxyVouchesFor(t *testing.T) {
	t.Parallel()
	s := front(t, serve(t, http.HandlerFunc(mirror)), proxy.Config{})
	got := lines(t, s, "GET / HTTP/1.1\r\nHost: x.test\r\nConnection: X-Forwarded-For, Forwarded, X-Forwarded-Host\r\n"+
		"X-Forwarded-For: 6.6.6.6\r\n\r\n")
	if v := field(got, "X-Forwarded-For"); v != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", v)
	}
	if v := field(got, "Forwarded"); v != "for=127.0.0.1;host=x.test;proto=http" {
		t.Errorf("Forwarded %q", v)
	}
}

func TestForwardedFieldsOfAStrangerAreWrittenAnew(t *testing.T) {
	t.Parallel()
	s := front(t, serve(t, http.HandlerFunc(mirror)), proxy.Config{PreserveHost: true})
	got := lines(t, s, "GET / HTTP/1.1\r\nHost: x.test:81\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\n"+
		"X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\n\r\n")
	for _, l := range got {
		if strings.Contains(l, "6.6.6.6") || strings.Contains(l, "evil") || strings.HasPrefix(l, "X-Forwarded-Port") {
			t.Errorf("the stranger's word passed: %q", l)
		}
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "x.test:81",
		"Forwarded": `for=127.0.0.1;host="x.test:81";proto=http`, "Host": "x.test:81",
	} {
		if v := field(got, name); v != want {
			t.Errorf("%s %q, want %q", name, v, want)
		}
	}
}

func TestForwardedFieldsOfATrustedPeerAreExtended(t *testing.T) {
	t.Parallel()
	s := front(t, serve(t, http.HandlerFunc(mirror)), proxy.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	got := lines(t, s, "GET / HTTP/1.1\r\nHost: x.test\r\nX-Forwarded-For: 7.7.7.7, 8.8.8.8\r\nX-Forwarded-For: 9.9.9.9\r\n"+
		"X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.test\r\nX-Forwarded-Port: 443\r\nX_Forwarded_For: 6.6.6.6\r\n"+
		"Forwarded: for=7.7.7.7, for=\"[::1]:5\"\r\n\r\n")
	for name, want := range map[string]string{
		"X-Forwarded-For": "7.7.7.7, 8.8.8.8, 9.9.9.9, 127.0.0.1", "X-Forwarded-Proto": "https",
		"X-Forwarded-Host": "outer.test", "X-Forwarded-Port": "443", "X_forwarded_for": "",
		"Forwarded": `for=7.7.7.7, for="[::1]:5", for=127.0.0.1;host=x.test;proto=http`,
	} {
		if v := field(got, name); v != want {
			t.Errorf("%s %q, want %q", name, v, want)
		}
	}
	got = lines(t, s, "GET / HTTP/1.1\r\nHost: x.test\r\nForwarded: for=\"7.7.7.7\r\n\r\n")
	if v := field(got, "Forwarded"); v != "for=127.0.0.1;host=x.test;proto=http" {
		t.Errorf("an open quote must not swallow our element: %q", v)
	}
}

func TestClientAddrBelievesTrustedHopsOnly(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct{ peer, xff, forwarded, want string }{
		{"6.6.6.6:1", "1.1.1.1", "", "6.6.6.6"},
		{"10.0.0.1:1", "1.1.1.1, 2.2.2.2", "", "2.2.2.2"},
		{"10.0.0.1:1", "1.1.1.1, 2.2.2.2:99, 10.9.9.9", "", "2.2.2.2"},
		{"10.0.0.1:1", "", `for=1.1.1.1, for="[2001:db8::1]:80"`, "2001:db8::1"},
		{"[fd00::1]:1", "[2001:db8::2]", "", "2001:db8::2"},
		{"[::ffff:10.0.0.1]:1", "::ffff:3.3.3.3", "", "3.3.3.3"},
		{"10.0.0.1:1", "", "", "10.0.0.1"},
		{"10.0.0.1:1", "1.1.1.1, nonsense", "", "invalid IP"},
		{"@", "1.1.1.1", "", "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.xff != "" {
			r.Header.Set("X-Forwarded-For", c.xff)
		}
		if c.forwarded != "" {
			r.Header.Set("Forwarded", c.forwarded)
		}
		if got := proxy.ClientAddr(r, trusted).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestItIsNoForwardProxy(t *testing.T) {
	t.Parallel()
	called := false
	up := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	s := front(t, up, proxy.Config{Hosts: []string{"api.test"}})
	for request, want := range map[string]int{
		"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n": 405,
		"CONNECT / HTTP/1.1\r\nHost: evil.test\r\n\r\n":                 405,
		"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n":     421,
		"GET ftp://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n":        421,
		"GET * HTTP/1.1\r\nHost: x.test\r\n\r\n":                        400,
		"GET / HTTP/1.1\r\nHost: x.test\r\nUpgrade: \xc3\xa9\r\n\r\n":   400,
		"GET /\r\n\r\n": 400,
	} {
		res, body := exchange(t, s, request)
		if res.StatusCode != want {
			t.Errorf("%q: status %d, want %d: %s", request, res.StatusCode, want, body)
		}
	}
	if called {
		t.Error("the upstream saw a refused request")
	}
	for _, request := range []string{
		"GET http://API.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n",
		"GET http://" + s.Listener.Addr().String() + " HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"GET //evil.test/x HTTP/1.1\r\nHost: evil.test\r\n\r\n",
	} {
		if res, body := exchange(t, s, request); res.StatusCode != 200 {
			t.Errorf("%q: status %d: %s", request, res.StatusCode, body)
		}
	}
	if !called {
		t.Error("the upstream saw nothing")
	}
}

func TestSmuggledRequestsStayBodies(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 10)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		mirror(w, r)
	}))
	s := front(t, up, proxy.Config{})
	inner := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, request := range []string{
		// both framings: chunked wins, and what follows is a request of its own to us
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\nContent-Length: " + fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
	} {
		res, body := exchange(t, s, request)
		if res.StatusCode != 200 || !strings.HasPrefix(body, "POST /a") && !strings.HasPrefix(body, "GET /a") {
			t.Errorf("%q: %d %s", request, res.StatusCode, body)
		}
		if strings.Contains(body, "Http2-Settings") {
			t.Errorf("an upgrade to h2c passed: %s", body)
		}
	}
	close(paths)
	if got := slices.Collect(func(yield func(string) bool) {
		for p := range paths {
			if !yield(p) {
				return
			}
		}
	}); len(got) != 3 || slices.Contains(got, "/smuggled") {
		t.Errorf("the upstream saw %q", got)
	}
	for _, request := range []string{
		"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"GET /a HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
	} {
		if res, _ := exchange(t, s, request); res.StatusCode < 400 {
			t.Errorf("%q: status %d", request, res.StatusCode)
		}
	}
}

func TestNothingIsInventedForAResponse(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "<html>not really gzip")
	}))
	res, body := exchange(t, front(t, up, proxy.Config{}), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if ct, ok := res.Header["Content-Type"]; ok || body != "<html>not really gzip" || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("Content-Type %q, body %q", ct, body)
	}
}

func FuzzForwardedNeverBelievesMoreThanItReads(f *testing.F) {
	for _, s := range []string{
		"for=192.0.2.43", `for="[2001:db8::1]:80";proto=https, for=_hidden`, `for="a\"b"`, ";;,", `for="open`, "for=a;for=b", "=", "for=", " , for=x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		elements, err := proxy.ParseForwarded([]string{line})
		if err != nil {
			return
		}
		// What was read must stay readable, and ours last, when it is extended.
		again, err := proxy.ParseForwarded([]string{line + ", for=192.0.2.1;proto=http"})
		if err != nil || len(again) != len(elements)+1 || again[len(elements)]["for"] != "192.0.2.1" {
			t.Fatalf("%q: %v then %v (%v)", line, elements, again, err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header["X-Forwarded-For"] = []string{line}
		_ = proxy.ClientAddr(r, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	})
}
