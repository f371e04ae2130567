package capture_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
)

// cell is one cell of the contract's table: a stream in a state, met again.
type cell struct {
	*fixture

	call  *call
	url   string // of the stream
	first string // what the first reader has read
	id    string // its last event id
	resp  *http.Response
}

// inState makes a stream of the events a and b, whose second has the
// upstream's own id up2, and brings it into a state. Its first reader is still
// there while the stream is live.
func inState(t *testing.T, state string, cfg capture.Config, headers ...string) *cell {
	bounds := capture.StoreConfig{}
	if state == "evicted" {
		bounds.Streams = 1
	}
	f := newFixture(t, cfg, bounds)
	x := &cell{fixture: f, resp: f.get(headers...)}
	x.call = <-f.up.came
	x.url = x.resp.Header.Get("Content-Location")
	io.WriteString(x.call, "id: up1\ndata: a\n\ndata: b\n\n")
	x.first = next(t, x.resp.Body, 2)
	_, x.id = events(x.first)
	switch state {
	case "live":
		return x
	case "faulted":
		x.call.CloseWithError(errBroken)
	default:
		x.call.Close()
	}
	if rest, err := readAll(x.resp.Body); rest != "" || (err != nil) != (state == "faulted") {
		t.Fatalf("the first reader's end is %q, %v", rest, err)
	}
	if state == "evicted" {
		other := f.do(request(t.Context(), "GET", "http://api.test/other", ""))
		(<-f.up.came).Close()
		readAll(other.Body)
	}
	return x
}

// owned are the headers of the request of inState, and those of others.
var (
	owned  = []string{"Authorization", "Bearer owner", "Idempotency-Key", "k1"}
	others = map[string][]string{"nobody": nil, "another": {"Authorization", "Bearer another"}}
)

func TestTheStreamsOwnURL(t *testing.T) {
	t.Parallel()
	auth := owned[:2:2]
	t.Run("live: replay, then live", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, owned...)
		go func() {
			io.WriteString(x.call, "data: c\n\n")
			x.call.Close()
		}()
		w := x.own("GET", x.url, auth...)
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "id: fl1") || !strings.Contains(w.Body.String(), "\nretry: ") {
			t.Errorf("status %d, body %q", w.Code, w.Body)
		}
		wantEvents(t, w.Body.String(), "a", "b", "c", "fairlead.end")
	})
	for state, last := range map[string]string{"ended": "fairlead.end", "faulted": "fairlead.fault"} {
		t.Run(state+": replay, then "+last+"; past it 204", func(t *testing.T) {
			t.Parallel()
			x := inState(t, state, capture.Config{}, owned...)
			w := x.own("GET", x.url, auth...)
			past := wantEvents(t, w.Body.String(), "a", "b", last)
			if w := x.own("GET", x.url, append(auth, "Last-Event-ID", past)...); w.Code != 204 || w.Body.Len() != 0 {
				t.Errorf("past the end: status %d %q", w.Code, w.Body)
			}
			for how, w := range map[string]string{
				"Last-Event-ID":   x.own("GET", x.url, append(auth, "Last-Event-ID", x.id)...).Body.String(),
				"?after=":         x.own("GET", x.url+"?after="+x.id, auth...).Body.String(),
				"?last_event_id=": x.own("GET", x.url+"?last_event_id="+x.id, auth...).Body.String(),
			} {
				t.Log(how)
				wantEvents(t, w, last)
			}
			wantEvents(t, x.own("GET", x.url+"?after=up1", auth...).Body.String(), "b", last)
			wantEvents(t, x.own("GET", x.url+"?after=latest", auth...).Body.String(), last)
			wantEvents(t, x.own("GET", x.url+"?after=earliest", auth...).Body.String(), "a", "b", last)
			wantEvents(t, x.own("GET", x.url+"?after=nonsense", auth...).Body.String(), "fairlead.gap", "a", "b", last)
		})
	}
	t.Run("evicted: 410", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "evicted", capture.Config{}, owned...)
		if w := x.own("GET", x.url, auth...); w.Code != 410 || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("status %d %v", w.Code, w.Header())
		}
	})
	t.Run("of another life: 410", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "ended", capture.Config{}, owned...)
		y := newFixture(t, capture.Config{}, capture.StoreConfig{})
		if w := y.own("GET", x.url, auth...); w.Code != 410 {
			t.Errorf("status %d", w.Code)
		}
	})
	for _, state := range []string{"live", "ended", "faulted", "evicted"} {
		for who, headers := range others {
			t.Run(state+", "+who+": 404", func(t *testing.T) {
				t.Parallel()
				x := inState(t, state, capture.Config{}, owned...)
				for _, method := range []string{"GET", "HEAD", "DELETE"} {
					if w := x.own(method, x.url, headers...); w.Code != 404 {
						t.Errorf("%s: status %d", method, w.Code)
					}
				}
				if w := x.own("DELETE", capture.Prefix+"?key=k1", headers...); w.Code != 404 {
					t.Errorf("by key: status %d", w.Code)
				}
			})
		}
	}
	t.Run("unknown: 404", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, owned...)
		unknown := x.url[:len(x.url)-22] + strings.Repeat("A", 22)
		for _, path := range []string{unknown, capture.Prefix + "/", capture.Prefix + "/x", x.url + "x", x.url + "/y"} {
			if w := x.own("GET", path, auth...); w.Code != 404 && !(path == capture.Prefix+"/" && w.Code == 405) {
				t.Errorf("%s: status %d", path, w.Code)
			}
		}
	})
}

func TestARepeatUnderTheSameKey(t *testing.T) {
	t.Parallel()
	t.Run("live: attaches to the whole", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, owned...)
		again := x.get(owned...)
		if again.StatusCode != x.resp.StatusCode || again.Header.Get("Content-Location") != x.url || again.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("status %d, header %v", again.StatusCode, again.Header)
		}
		io.WriteString(x.call, "data: c\n\n")
		x.call.Close()
		body, err := readAll(again.Body)
		rest, _ := readAll(x.resp.Body)
		if err != nil || body != x.first+rest || x.up.count() != 1 {
			t.Errorf("got %q, %v; want %q; %d calls", body, err, x.first+rest, x.up.count())
		}
	})
	t.Run("before the headers: waits for the same", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		f.up.hold = make(chan struct{})
		bodies := make(chan string)
		for range 2 {
			go func() {
				resp, err := f.rt.RoundTrip(request(t.Context(), "GET", target, "", owned...))
				if err != nil {
					bodies <- err.Error()
					return
				}
				body, _ := readAll(resp.Body)
				resp.Body.Close()
				bodies <- body
			}()
		}
		c := <-f.up.came
		close(f.up.hold)
		io.WriteString(c, "data: a\n\n")
		c.Close()
		a, b := <-bodies, <-bodies
		wantEvents(t, a, "a")
		if a != b || f.up.count() != 1 {
			t.Errorf("%q, %q, %d calls", a, b, f.up.count())
		}
	})
	t.Run("ended: replay, clean end", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "ended", capture.Config{}, owned...)
		for range 3 {
			if body, err := readAll(x.get(owned...).Body); err != nil || body != x.first || x.up.count() != 1 {
				t.Errorf("got %q, %v, %d calls", body, err, x.up.count())
			}
		}
	})
	t.Run("faulted: replay, then abort; the next calls anew", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "faulted", capture.Config{}, owned...)
		if body, err := readAll(x.get(owned...).Body); err == nil || body != x.first || x.up.count() != 1 {
			t.Errorf("got %q, %v, %d calls", body, err, x.up.count())
		}
		anew := x.get(owned...)
		(<-x.up.came).Close()
		if body, err := readAll(anew.Body); err != nil || body != "" || x.up.count() != 2 {
			t.Errorf("got %q, %v, %d calls", body, err, x.up.count())
		}
	})
	t.Run("evicted: calls anew", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "evicted", capture.Config{}, owned...)
		before := x.up.count()
		anew := x.get(owned...)
		(<-x.up.came).Close()
		if body, err := readAll(anew.Body); err != nil || body != "" || x.up.count() != before+1 {
			t.Errorf("got %q, %v, %d calls", body, err, x.up.count())
		}
	})
	t.Run("of another owner: calls anew", func(t *testing.T) {
		t.Parallel()
		for who, headers := range others {
			x := inState(t, "ended", capture.Config{}, owned...)
			other := x.get(append(slices.Clone(headers), "Idempotency-Key", "k1")...)
			(<-x.up.came).Close()
			if body, err := readAll(other.Body); err != nil || body != "" || x.up.count() != 2 {
				t.Errorf("%s got %q, %v, %d calls", who, body, err, x.up.count())
			}
		}
	})
	for _, state := range []string{"live", "ended", "faulted"} {
		t.Run(state+", with another body: 422", func(t *testing.T) {
			t.Parallel()
			x := inState(t, state, capture.Config{}, owned...)
			r := request(t.Context(), "GET", target, "another body", append([]string{"Accept", "text/event-stream"}, owned...)...)
			if resp := x.do(r); resp.StatusCode != 422 || resp.Header.Get("Content-Type") != "application/problem+json" || x.up.count() != 1 {
				t.Errorf("status %d, %d calls", resp.StatusCode, x.up.count())
			}
		})
	}
	t.Run("to another URL or by another method: another request", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "ended", capture.Config{}, owned...)
		for _, r := range []*http.Request{
			request(t.Context(), "GET", target+"&more", "", owned...), request(t.Context(), "POST", target, "", owned...),
		} {
			resp := x.do(r)
			(<-x.up.came).Close()
			if body, err := readAll(resp.Body); body != "" || err != nil {
				t.Errorf("%s %s: %q, %v", r.Method, r.URL, body, err)
			}
		}
	})
	t.Run("with a body over 1 MiB: not attachable", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		for range 2 {
			r := request(t.Context(), "POST", target, strings.Repeat("x", 1<<20+1), owned...)
			r.ContentLength = -1
			resp := f.do(r)
			(<-f.up.came).Close()
			readAll(resp.Body)
		}
		if f.up.count() != 2 {
			t.Errorf("%d calls, want 2", f.up.count())
		}
	})
}

// endedWithoutIDs records a whole stream of a and b, whose upstream gives no id.
func endedWithoutIDs(t *testing.T) (f *fixture, body string) {
	t.Helper()
	f = newFixture(t, capture.Config{}, capture.StoreConfig{})
	resp := f.get()
	c := <-f.up.came
	io.WriteString(c, "data: a\n\ndata: b\n\n")
	c.Close()
	body, _ = readAll(resp.Body)
	return f, body
}

func TestAReconnectOnTheOriginalURL(t *testing.T) {
	t.Parallel()
	auth := owned[:2:2]
	back := func(x *cell, id string) *http.Response {
		return x.get(append(slices.Clone(auth), "Last-Event-ID", id)...)
	}
	t.Run("live: goes on there", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, auth...)
		again := back(x, x.id)
		if again.StatusCode != 200 || again.Header.Get("Content-Location") != x.url {
			t.Errorf("status %d, header %v", again.StatusCode, again.Header)
		}
		io.WriteString(x.call, "data: c\n\n")
		x.call.Close()
		body, err := readAll(again.Body)
		if err != nil || x.up.count() != 1 {
			t.Errorf("%v, %d calls", err, x.up.count())
		}
		wantEvents(t, body, "c")
	})
	for _, state := range []string{"ended", "faulted"} {
		t.Run(state+": forwarded with the upstream's own last id", func(t *testing.T) {
			t.Parallel()
			x := inState(t, state, capture.Config{}, auth...)
			back(x, x.id)
			if got := (<-x.up.came).req.Header.Values("Last-Event-ID"); len(got) != 1 || got[0] != "up1" {
				t.Errorf("the upstream got Last-Event-ID %q", got)
			}
		})
		t.Run(state+", end: final: 204", func(t *testing.T) {
			t.Parallel()
			x := inState(t, state, capture.Config{EndFinal: true}, auth...)
			if resp := back(x, x.id); resp.StatusCode != 204 || x.up.count() != 1 {
				t.Errorf("status %d, %d calls", resp.StatusCode, x.up.count())
			}
		})
	}
	t.Run("ended, the upstream gave no id: forwarded without one", func(t *testing.T) {
		t.Parallel()
		f, body := endedWithoutIDs(t)
		_, id := events(body)
		f.get("Last-Event-ID", id)
		if got, ok := (<-f.up.came).req.Header["Last-Event-Id"]; ok {
			t.Errorf("the upstream got Last-Event-ID %q", got)
		}
	})
	t.Run("ended before the reader had all, and the upstream gave no id: the rest, not a new answer", func(t *testing.T) {
		t.Parallel()
		f, body := endedWithoutIDs(t)
		_, id := events(body[:strings.Index(body, "data: b")-10])
		rest, err := readAll(f.get("Last-Event-ID", id).Body)
		if err != nil || f.up.count() != 1 {
			t.Errorf("%v, %d calls", err, f.up.count())
		}
		wantEvents(t, rest, "b")
	})
	t.Run("the id that the first request resumed after counts as the upstream's", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		resp := f.get("Last-Event-ID", "up7")
		c := <-f.up.came
		io.WriteString(c, "data: a\n\n")
		c.Close()
		body, _ := readAll(resp.Body)
		_, id := events(body)
		f.get("Last-Event-ID", id)
		if got := (<-f.up.came).req.Header.Get("Last-Event-ID"); got != "up7" {
			t.Errorf("the upstream got Last-Event-ID %q", got)
		}
	})
	for _, state := range []string{"evicted", "of another life"} {
		t.Run(state+": forwarded without our cursor", func(t *testing.T) {
			t.Parallel()
			x := inState(t, strings.Replace(state, "of another life", "ended", 1), capture.Config{}, auth...)
			if state == "of another life" {
				x.fixture = newFixture(t, capture.Config{}, capture.StoreConfig{})
			}
			back(x, x.id)
			if got, ok := (<-x.up.came).req.Header["Last-Event-Id"]; ok {
				t.Errorf("the upstream got Last-Event-ID %q", got)
			}
		})
	}
	for _, state := range []string{"live", "ended", "faulted", "evicted"} {
		for who, headers := range others {
			t.Run(state+", "+who+": 404", func(t *testing.T) {
				t.Parallel()
				x := inState(t, state, capture.Config{}, auth...)
				before := x.up.count()
				if resp := x.get(append(slices.Clone(headers), "Last-Event-ID", x.id)...); resp.StatusCode != 404 || x.up.count() != before {
					t.Errorf("status %d, %d calls", resp.StatusCode, x.up.count()-before)
				}
			})
		}
	}
	t.Run("another method or URL: 404", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, auth...)
		for _, r := range []*http.Request{
			request(t.Context(), "GET", target+"&more", "", append(auth, "Last-Event-ID", x.id)...),
			request(t.Context(), "POST", target, "", append(auth, "Last-Event-ID", x.id)...),
		} {
			if resp := x.do(r); resp.StatusCode != 404 || x.up.count() != 1 {
				t.Errorf("status %d, %d calls", resp.StatusCode, x.up.count())
			}
		}
	})
	t.Run("a made-up position: 404", func(t *testing.T) {
		t.Parallel()
		for _, state := range []string{"live", "ended"} {
			x := inState(t, state, capture.Config{}, auth...)
			if resp := back(x, x.id[:len(x.id)-2]+"1v"); resp.StatusCode != 404 || x.up.count() != 1 {
				t.Errorf("%s: status %d, %d calls", state, resp.StatusCode, x.up.count())
			}
		}
	})
	t.Run("the upstream's own id goes upstream", func(t *testing.T) {
		t.Parallel()
		x := inState(t, "live", capture.Config{}, auth...)
		back(x, "up1")
		if got := (<-x.up.came).req.Header.Get("Last-Event-ID"); got != "up1" {
			t.Errorf("the upstream got Last-Event-ID %q", got)
		}
	})
}

func TestAStreamIsKeptForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := inState(t, "ended", capture.Config{}, owned...)
		time.Sleep(10*time.Minute - time.Second)
		if w := x.own("GET", x.url, owned[:2:2]...); w.Code != 200 {
			t.Errorf("after less than 10 minutes: status %d", w.Code)
		}
		time.Sleep(2 * time.Second)
		if w := x.own("GET", x.url, owned[:2:2]...); w.Code != 410 {
			t.Errorf("after 10 minutes: status %d", w.Code)
		}
		if s := x.store.Stats(); s.Bytes != 0 || s.Finished != 0 || s.Live != 0 {
			t.Errorf("still held: %+v", s)
		}
	})
}

func TestARepeatWithACursorPastTheLastEventIsTheEndAgain(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"ended", "faulted"} {
		for _, beyond := range []int{1, 2, 1000} {
			x := inState(t, state, capture.Config{}, owned...)
			first, _ := readAll(x.own("GET", x.url, owned...).Result().Body)
			_, end := events(first)
			at := strings.LastIndexByte(end, '.')
			digits := strconv.FormatInt(int64(9+beyond), 32)
			cursor := fmt.Sprintf("%s%d%s", end[:at+1], len(digits), digits)
			if beyond == 1 {
				cursor = end
			}
			resp := x.get(append(slices.Clone(owned), "Last-Event-ID", cursor)...)
			body, err := readAll(resp.Body)
			if resp.StatusCode != 200 || body != "" || (err != nil) != (state == "faulted") || x.up.count() != 1 {
				t.Errorf("%s, %s: %d %q, %v, %d calls", state, cursor, resp.StatusCode, body, err, x.up.count())
			}
		}
	}
}
