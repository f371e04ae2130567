package capture_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
)

// toPeer sends to another store's handler.
type toPeer struct{ host string }

func (p toPeer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = p.host
	return http.DefaultTransport.RoundTrip(r)
}

// pair is a store and one that has it as a peer, of the same route.
func pair(t *testing.T, cfg capture.Config) (older, newer *fixture) {
	t.Helper()
	older, newer = newFixture(t, cfg, capture.StoreConfig{}), newFixture(t, cfg, capture.StoreConfig{})
	s := httptest.NewServer(older.store.PeerHandler())
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	newer.store.AddPeer(toPeer{u.Host})
	return older, newer
}

// live starts a call on the fixture and sends it one event.
func (f *fixture) live(headers ...string) (c *call, path, id string) {
	f.t.Helper()
	resp := f.get(headers...)
	c = <-f.up.came
	_, _ = io.WriteString(c, "data: one\n\n")
	return c, resp.Header.Get("Content-Location"), wantEvents(f.t, next(f.t, resp.Body, 1), "one")
}

func TestAStreamOfAPeerIsReadByItsURL(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	c, path, id := older.live("Authorization", "me")
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- newer.own("GET", path, "Authorization", "me", "Last-Event-ID", id) }()
	_, _ = io.WriteString(c, "data: two\n\n")
	_ = c.Close()
	if w := <-done; w.Code != 200 || w.Header().Get("Fairlead-Peer") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	} else {
		wantEvents(t, w.Body.String(), "two", "fairlead.end")
	}
	if w := newer.own("GET", path, "Authorization", "you"); w.Code != 404 {
		t.Errorf("a stranger got %d", w.Code)
	}
	if w := newer.own("HEAD", path, "Authorization", "me"); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
	if w := newer.own("GET", capture.Prefix+"/"+strings.Repeat("x", 28)); w.Code != 410 {
		t.Errorf("a stream that nobody knows: %d", w.Code)
	}
}

func TestACallOfAPeerIsCancelledByURLAndByKey(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	c, path, _ := older.live()
	if w := newer.own("DELETE", path); w.Code != 204 {
		t.Errorf("DELETE: %d", w.Code)
	}
	<-c.req.Context().Done()
	c, _, _ = older.live("Idempotency-Key", "k")
	if w := newer.own("DELETE", capture.Prefix+"?key=k"); w.Code != 204 {
		t.Errorf("DELETE by key: %d", w.Code)
	}
	<-c.req.Context().Done()
	if w := newer.own("DELETE", capture.Prefix+"?key=other"); w.Code != 404 {
		t.Errorf("DELETE by a key that nobody knows: %d", w.Code)
	}
}

func TestARepeatOfAPeersCallDoesNotCallTheUpstream(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	post := func(body string) *http.Request {
		return request(t.Context(), "POST", target, body, "Idempotency-Key", "k", "Authorization", "me")
	}
	first := older.do(post("question"))
	c := <-older.up.came
	again := newer.do(post("question"))
	_, _ = io.WriteString(c, "data: one\n\n")
	wantEvents(t, next(t, again.Body, 1), "one")
	_ = c.Close()
	mine, err := readAll(first.Body)
	wantEvents(t, mine, "one")
	if err != nil {
		t.Error(err)
	}
	if rest, err := readAll(again.Body); rest != "" || err != nil {
		t.Errorf("it ended with %q, %v", rest, err)
	}
	if again.Header.Get("Content-Location") != first.Header.Get("Content-Location") || again.Header.Get("Fairlead-Peer") != "" {
		t.Errorf("header %v", again.Header)
	}
	if resp := newer.do(post("another question")); resp.StatusCode != 422 {
		t.Errorf("the same key with another body: %d", resp.StatusCode)
	}
	if n := newer.up.count(); n != 0 {
		t.Errorf("the upstream was called %d times more", n)
	}
}

func TestAPeersFaultIsNoEnd(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	c, _, _ := older.live("Idempotency-Key", "k")
	again := newer.get("Idempotency-Key", "k")
	next(t, again.Body, 1)
	_ = c.CloseWithError(errBroken)
	if _, err := readAll(again.Body); err == nil {
		t.Error("the fault looked like an end")
	}
}

func TestAReconnectToAPeersStreamGoesOn(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	c, _, id := older.live()
	again := newer.get("Last-Event-ID", id)
	_, _ = io.WriteString(c, "data: two\n\n")
	wantEvents(t, next(t, again.Body, 1), "two")
	if resp := newer.get("Last-Event-ID", id, "Authorization", "me"); resp.StatusCode != 200 {
		t.Errorf("who has the id of nobody's stream got %d", resp.StatusCode)
	}
	stranger := request(t.Context(), "GET", target+"&other", "", "Accept", "text/event-stream", "Last-Event-ID", id)
	if resp := newer.do(stranger); resp.StatusCode != 404 {
		t.Errorf("another URL: %d", resp.StatusCode)
	}
	if n := newer.up.count(); n != 0 {
		t.Errorf("the upstream was called %d times more", n)
	}
}

func TestAReconnectAfterTheEndOfAPeersStreamGoesUpstreamWithTheUpstreamsID(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	resp := older.get()
	c := <-older.up.came
	_, _ = io.WriteString(c, "id: theirs\ndata: one\n\nevent: more\n\n")
	_ = c.Close()
	own := resp.Header.Get("Content-Location")
	if _, err := readAll(resp.Body); err != nil {
		t.Error(err)
	}
	_, id := events(older.own("GET", own).Body.String())
	newer.get("Last-Event-ID", id)
	if got := (<-newer.up.came).req.Header.Get("Last-Event-ID"); got != "theirs" {
		t.Errorf("the upstream was sent %q", got)
	}
}

// gone is a peer whose process has ended.
type gone struct{}

func (gone) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

func TestAPeerThatHasGoneKnowsNothing(t *testing.T) {
	older, newer := pair(t, capture.Config{})
	_, path, id := older.live()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	f.store.AddPeer(gone{})
	f.get("Last-Event-ID", id)
	if got := (<-f.up.came).req.Header.Get("Last-Event-ID"); got != "" {
		t.Errorf("the upstream was sent %q", got)
	}
	if w := f.own("GET", path); w.Code != 410 {
		t.Errorf("the stream's URL: %d", w.Code)
	}
	f.store.RemovePeer(gone{})
	f.get("Idempotency-Key", "k")
	<-f.up.came
	newer.get("Idempotency-Key", "k")
	<-newer.up.came // what the peer does not know is called
}

func TestAPeerTellsOwnersByTheirCertificates(t *testing.T) {
	owner, err := capture.ParseIdentity("client_cert")
	if err != nil {
		t.Fatal(err)
	}
	older, newer := pair(t, capture.Config{Owner: []capture.Identity{owner}})
	mine := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("mine")}}}
	r := request(t.Context(), "GET", target, "", "Accept", "text/event-stream")
	r.TLS = mine
	resp := older.do(r)
	_ = (<-older.up.came).Close()
	if _, err := readAll(resp.Body); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		tls  *tls.ConnectionState
		want int
	}{{mine, 200}, {nil, 404}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", resp.Header.Get("Content-Location"), nil)
		r.TLS = c.tls
		r.Header.Set("Fairlead-Peer-Certificate", "bWluZQ==") // a lie
		newer.store.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%v: %d, want %d", c.tls != nil, w.Code, c.want)
		}
	}
}

func TestPeersAnswerNothingElse(t *testing.T) {
	older, _ := pair(t, capture.Config{})
	for _, c := range []struct {
		header, path, body string
		want               int
	}{
		{"", "/", "", 204},
		{"request", "/ask", "{", 400},
		{"request", "/ask", `{"owner":"00"}`, 400},
		{"request", "/ask", `{"owner":"` + strings.Repeat("x", 64) + `"}`, 400},
		{"request", "/ask", `{"owner":"` + strings.Repeat("0", 5000) + `"}`, 400},
		{"request", "/ask", "{}", 204},
		{"stream", capture.Prefix, "", 204},
		{"stream", capture.Prefix + "/short", "", 204},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", c.path, strings.NewReader(c.body))
		r.Header.Set("Fairlead-Peer", c.header)
		older.store.PeerHandler().ServeHTTP(w, r)
		if w.Code != c.want || w.Header().Get("Fairlead-Peer") == "answer" {
			t.Errorf("%s %s %.20s: %d, want %d", c.header, c.path, c.body, w.Code, c.want)
		}
	}
}

func FuzzAPeersQuestionIsAnsweredOrRefused(f *testing.F) {
	hash := strings.Repeat("0", 64)
	f.Add(`{"method":"GET","owner":"`+hash+`","target":"`+hash+`","key":"`+hash+`","body":"`+hash+`"}`, "")
	f.Add(`{"owner":"00"}`, "fl1")
	f.Add(`{"final":true}`, "fl1"+strings.Repeat("x", 28)+".11")
	store := capture.NewStore(capture.StoreConfig{})
	f.Fuzz(func(t *testing.T, question, id string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/ask", strings.NewReader(question))
		r.Header.Set("Fairlead-Peer", "request")
		r.Header.Set("Last-Event-ID", id)
		store.PeerHandler().ServeHTTP(w, r)
		if w.Code != 204 && w.Code != 400 || w.Header().Get("Fairlead-Peer") == "answer" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
}
