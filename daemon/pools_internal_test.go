package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// fakePool remembers the last four events.
type fakePool struct {
	mu   sync.Mutex
	last uint64
	more chan struct{}
}

func (f *fakePool) Snapshot() upstream.Snapshot {
	return upstream.Snapshot{
		Endpoints: []upstream.EndpointSnapshot{
			{Endpoint: "http://a", State: "ok", Idle: 1, Active: 2, Dialing: 9, Requests: 7},
			{Endpoint: "http://b", Address: "192.0.2.1:80", State: "ejected", Draining: 3},
		},
		Suggest: upstream.Suggestion{Connections: 18, Why: "because"},
	}
}

func (f *fakePool) Connections(limit int) []upstream.ConnectionInfo {
	return make([]upstream.ConnectionInfo, min(limit, 2))
}

func (f *fakePool) happen(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last += n
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

func (f *fakePool) Events(after uint64) (events []upstream.Event, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after > f.last {
		after = 0
	}
	if f.last > 4 {
		after = max(after, f.last-4)
	}
	for seq := after + 1; seq <= f.last; seq++ {
		events = append(events, upstream.Event{Seq: seq, Kind: "opened", Why: "w"})
	}
	if f.more == nil {
		f.more = make(chan struct{})
	}
	return events, f.more
}

// page is a response that may be read while it is written.
type page struct {
	httptest.ResponseRecorder

	mu sync.Mutex
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ResponseRecorder.Write(b)
}

func (p *page) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Body.String()
}

// reading is a reader of the events of the pool "a" within a bubble.
type reading struct {
	t       *testing.T
	page    *page
	pools   atomic.Pointer[map[string]pool]
	leaving chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
	seen    int
}

func read(t *testing.T, p pool, header ...string) *reading {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &reading{
		t: t, page: &page{ResponseRecorder: *httptest.NewRecorder()}, leaving: make(chan struct{}), cancel: cancel, ended: make(chan struct{}),
	}
	s.pools.Store(&map[string]pool{"a": p})
	pages := &poolPages{pools: func() map[string]pool { return *s.pools.Load() }, leaving: s.leaving}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/pools/a/events", nil)
	r.SetPathValue("name", "a")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(s.ended)
		pages.serveEvents(s.page, r)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.ended
	})
	return s
}

// next returns what has come since it was last asked, a word for each block.
func (s *reading) next() string {
	s.t.Helper()
	synctest.Wait()
	text := s.page.text()[s.seen:]
	s.seen += len(text)
	var words []string
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		word := ""
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch {
			case name == "retry":
				word += "retry"
			case name == "id" && value == "":
				word += "reset "
			case name == "id":
				word += value
			case name == "event" && value != "opened":
				word += value + " "
			case name == "data" && strings.HasPrefix(value, `{"seq":`):
				if !strings.HasPrefix(value, `{"seq":`+word+`,`) {
					s.t.Errorf("id %s with %s", word, value)
				}
			case name == "data":
				word += value
			case line == ": ":
				word += "beat"
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, ",")
}

func (s *reading) want(what string) {
	s.t.Helper()
	if got := s.next(); got != what {
		s.t.Errorf("got %q, want %q", got, what)
	}
}

func TestAReaderOfPoolEventsGetsWhatIsRememberedAndThenWhatHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakePool{last: 2}
		s := read(t, p)
		s.want("retry,1,2")
		p.happen(1)
		s.want("3")
		time.Sleep(poolHeartbeat + time.Millisecond)
		s.want("beat")
		time.Sleep(poolHeartbeat - time.Second)
		p.happen(1)
		s.want("4")
		time.Sleep(poolHeartbeat - time.Second)
		s.want("")
		p.happen(6)
		s.want(`fairlead.gap {"skipped":2},7,8,9,10`)
		if h := s.page.Header(); h.Get("Content-Type") != "text/event-stream" {
			t.Errorf("header %v", h)
		}
	})
}

func TestAReaderOfPoolEventsGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read(t, &fakePool{last: 9}, "Last-Event-ID", "7").want("retry,8,9")
		read(t, &fakePool{last: 9}, "Last-Event-ID", "2").want(`retry,fairlead.gap {"skipped":3},6,7,8,9`)
		read(t, &fakePool{last: 2}, "Last-Event-ID", "7").want("retry,reset fairlead.replaced {},1,2")
	})
}

func TestAReaderOfPoolEventsIsToldWhenAReloadReplacesThePool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &fakePool{last: 2}
		s := read(t, p)
		s.want("retry,1,2")
		s.pools.Store(&map[string]pool{"a": &fakePool{last: 3}})
		time.Sleep(poolLook)
		s.want("reset fairlead.replaced {},1,2,3")
		s.pools.Store(&map[string]pool{})
		<-s.ended
		s.want("")
	})
}

func TestTheStreamOfPoolEventsEndsWithItsReaderAndWithTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := read(t, &fakePool{last: 1})
		s.want("retry,1")
		close(s.leaving)
		<-s.ended
		s.want("retry")
		s = read(t, &fakePool{last: 1})
		s.want("retry,1")
		s.cancel()
		<-s.ended
		s.want("")
	})
}

func TestPoolPages(t *testing.T) {
	t.Parallel()
	none := &poolPages{pools: func() map[string]pool { return nil }}
	two := &poolPages{pools: func() map[string]pool { return map[string]pool{"b": &fakePool{last: 6}, "a": &fakePool{}} }}
	get := func(p *poolPages, path string, header ...string) (int, string) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /pools", p.serveList)
		mux.HandleFunc("GET /pools/{name}/connections", p.serveConnections)
		mux.HandleFunc("GET /pools/{name}/events", p.serveEvents)
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		compact, _ := json.Marshal(json.RawMessage(w.Body.Bytes()))
		return w.Code, string(compact)
	}
	for _, c := range []struct {
		pages  *poolPages
		path   string
		status int
		want   string
	}{
		{none, "/pools", 200, `{"pools":[]}`},
		{two, "/pools", 200, `"name":"b"`},
		{two, "/pools/a/connections", 200, `{"total":6,"connections":[{"id":0,`},
		{two, "/pools/c/connections", 404, `there is no pool \"c\"; the pools are a, b`},
		{none, "/pools/c/events", 404, `there are no pools`},
		{two, "/pools/a/events", 200, `{"skipped":0,"events":[]}`},
		{two, "/pools/b/events", 200, `{"skipped":2,"events":[{"seq":3,`},
		{two, "/pools/b/events?after=5", 200, `{"skipped":0,"events":[{"seq":6,`},
		{two, "/pools/b/events?after=x", 400, `\"x\" is no id of an event`},
	} {
		status, text := get(c.pages, c.path, "Accept", "application/json")
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", c.path, status, text, c.status, c.want)
		}
	}
	w := httptest.NewRecorder()
	writeJSON(w, map[string]any{"a": []float64{1, -2.5, 1e21}, "b": []int{}, "c": "[ 1 ]"})
	if got, want := w.Body.String(), "{\n  \"a\": [1,-2.5,1e+21],\n  \"b\": [],\n  \"c\": \"[ 1 ]\"\n}\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var lines strings.Builder
	two.summary(&lines)
	if want := "  a: 2 endpoints (1 out), 6 connections, suggest 18 (max_connections: 18): because\n"; !strings.HasPrefix(lines.String(), want) {
		t.Errorf("%q, want %q", lines.String(), want)
	}
	if m := two.metrics(); len(m) != 2 || m[0].Name != "a" || fmt.Sprint(m[1].Endpoints) !=
		"[{http://a true 1 2 9 0 0 0 7 0} {http://b (192.0.2.1:80) false 0 0 0 3 0 0 0 0}]" {
		t.Errorf("metrics of %+v", m)
	}
}
