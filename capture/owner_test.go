package capture_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
)

func TestTwoAnonymousUsersDoNotMeet(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{})
	const secret = "id: 1\ndata: secret of user one\n\n"
	one := f.get("Idempotency-Key", "a key that user two cannot guess", "Cookie", "session=one")
	c := <-f.up.came
	io.WriteString(c, secret)
	if got := next(t, one.Body, 1); got != secret {
		t.Fatalf("user one got %q", got)
	}
	url := one.Header.Get("Content-Location")
	calls := 1
	rnd := rand.New(rand.NewPCG(1, 1))
	guess := func() string {
		b := []byte(url)
		for i := len(b) - 22; i < len(b); i++ {
			b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rnd.IntN(64)]
		}
		return string(b)
	}
	for name, headers := range map[string][]string{
		"the same upstream id":              {"Last-Event-ID", "1"},
		"no header":                         nil,
		"another key":                       {"Idempotency-Key", "another"},
		"the same key as another session":   {"Idempotency-Key", "a key that user two cannot guess", "Cookie", "session=two"},
		"the same key as nobody":            {"Idempotency-Key", "a key that user two cannot guess"},
		"the same key as a user with token": {"Idempotency-Key", "a key that user two cannot guess", "Cookie", "session=one", "Authorization", "Bearer two"},
		"the same key with a key for APIs":  {"Idempotency-Key", "a key that user two cannot guess", "Cookie", "session=one", "X-Api-Key", "two"},
		"owner headers":                     {"X-User", "one", "X-Forwarded-For", "192.0.2.1", "Forwarded", "for=192.0.2.1"},
		"a key that looks like two values":  {"Idempotency-Key", "a key that user two cannot guess\x01session=one"},
	} {
		two := f.get(headers...)
		calls++
		(<-f.up.came).Close()
		if body, err := readAll(two.Body); body != "" || err != nil || f.up.count() != calls || two.Header.Get("Content-Location") == url {
			t.Errorf("with %s user two got %q, %v, %d calls", name, body, err, f.up.count())
		}
	}
	for range 1000 {
		path := guess()
		id := strings.TrimPrefix(path, capture.Prefix+"/")
		if w := f.own("GET", path); w.Code != 404 || strings.Contains(w.Body.String(), "secret") {
			t.Fatalf("%s: status %d", path, w.Code)
		}
		if w := f.own("DELETE", path); w.Code != 404 {
			t.Fatalf("DELETE %s: status %d", path, w.Code)
		}
		if resp := f.get("Last-Event-ID", "fl1"+id+".11"); resp.StatusCode != 404 {
			t.Fatalf("reconnect: status %d", resp.StatusCode)
		}
	}
	if c.req.Context().Err() != nil || f.up.count() != calls {
		t.Error("user two reached the call of user one")
	}
}

func TestAnOwnerIsWhatTheConfigurationSays(t *testing.T) {
	t.Parallel()
	with := func(change func(*http.Request)) func(*http.Request) { return change }
	cert := func(raw string) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw)}}}
		}
	}
	for _, c := range []struct {
		owner        []string
		mine, theirs func(*http.Request)
	}{
		{[]string{"header X-User"}, with(func(r *http.Request) { r.Header.Set("X-User", "1") }), with(func(r *http.Request) { r.Header.Set("X-User", "2") })},
		{[]string{"cookie sid"}, with(func(r *http.Request) { r.Header.Set("Cookie", "a=b; sid=1") }), with(func(r *http.Request) { r.Header.Set("Cookie", "sid=2") })},
		{[]string{"query token"}, with(func(r *http.Request) { r.URL.RawQuery += "&token=1" }), with(func(r *http.Request) { r.URL.RawQuery += "&token=2" })},
		{[]string{"client_cert"}, cert("one"), cert("two")},
		{[]string{"header X-User", "cookie sid"}, with(func(r *http.Request) { r.Header.Set("X-User", "1") }), with(func(r *http.Request) {
			r.Header.Set("X-User", "1")
			r.Header.Set("Cookie", "sid=2")
		})},
	} {
		var cfg capture.Config
		for _, s := range c.owner {
			i, err := capture.ParseIdentity(s)
			if err != nil || i.String() != s {
				t.Fatalf("%q: %v, %v", s, i, err)
			}
			cfg.Owner = append(cfg.Owner, i)
		}
		f := newFixture(t, cfg, capture.StoreConfig{})
		r := request(t.Context(), "GET", target, "")
		c.mine(r)
		resp := f.do(r)
		(<-f.up.came).Close()
		readAll(resp.Body)
		for who, x := range map[string]struct {
			change func(*http.Request)
			status int
		}{"the owner": {c.mine, 200}, "another": {c.theirs, 404}, "nobody": {func(*http.Request) {}, 404}} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", resp.Header.Get("Content-Location"), nil)
			r.TLS = nil
			x.change(r)
			w := httptest.NewRecorder()
			f.store.ServeHTTP(w, r)
			if w.Code != x.status {
				t.Errorf("%v: %s gets status %d", c.owner, who, w.Code)
			}
		}
		// Without any of it the id is the capability.
		anonymous := f.do(request(t.Context(), "GET", target, ""))
		(<-f.up.came).Close()
		readAll(anonymous.Body)
		if w := f.own("GET", anonymous.Header.Get("Content-Location")); w.Code != 200 {
			t.Errorf("%v: an anonymous stream: status %d", c.owner, w.Code)
		}
	}
	for _, bad := range []string{"", "header", "header a b", "Header a", "client_cert x", "cookie"} {
		if i, err := capture.ParseIdentity(bad); err == nil {
			t.Errorf("%q is %v", bad, i)
		}
	}
}
