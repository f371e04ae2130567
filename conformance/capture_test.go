package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// model is an OpenAI-style API: each call streams a few chunks.
type model struct {
	calls atomic.Int32
	// broken cuts the connection instead of finishing.
	broken bool
}

const chunks = 12

func (m *model) chunk(call int32, n int) string {
	b, err := json.Marshal(map[string]any{
		"id": fmt.Sprint("chatcmpl-", call), "object": "chat.completion.chunk", "created": 1700000000, "model": "test",
		"choices": []any{map[string]any{"index": 0, "delta": map[string]any{"content": fmt.Sprintf("token %d\n", n)}, "finish_reason": nil}},
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions" {
		http.NotFound(w, r)
		return
	}
	call := m.calls.Add(1)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w)
	for n := range chunks {
		fmt.Fprintf(w, "data: %s\n\n", m.chunk(call, n))
		_ = flush.Flush()
		if m.broken && n == chunks/2 {
			panic(http.ErrAbortHandler)
		}
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// complete streams a completion through npm's openai and returns its chunks
// and how it ended.
func complete(t *testing.T, args ...string) (got []string, ended string) {
	t.Helper()
	client := node(t, "openai.mjs", args...)
	for _, line := range client.rest() {
		v := decode[struct {
			Chunk json.RawMessage
			Ended string
		}](t, line)
		if v.Ended != "" {
			return got, v.Ended
		}
		got = append(got, string(v.Chunk))
	}
	t.Fatalf("the client ended early: %s", client.errors())
	return nil, ""
}

func sameChunks(t *testing.T, m *model, call int32, got []string) {
	t.Helper()
	if len(got) != chunks {
		t.Fatalf("the client saw %d chunks, want the upstream's %d: %q", len(got), chunks, got)
	}
	for n := range got {
		if have, want := decode[any](t, got[n]), decode[any](t, m.chunk(call, n)); fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("chunk %d is %v, want %v", n, have, want)
		}
	}
}

func TestNpmOpenaiStreamsThroughTheProxyUnchanged(t *testing.T) {
	t.Parallel()
	m := &model{}
	s := serve(t, "--upstream", upstream(t, m))
	got, ended := complete(t, s.http+"/v1")
	if ended != "clean" {
		t.Errorf("the stream ended with %s", ended)
	}
	sameChunks(t, m, 1, got)
	if _, ended = complete(t, s.http+"/v1"); ended != "clean" || m.calls.Load() != 2 {
		t.Errorf("a second call without a key ended %s with %d calls, want a call of its own", ended, m.calls.Load())
	}
}

func TestNpmOpenaiRepeatsACallWithoutASecondAnswerBeingMade(t *testing.T) {
	t.Parallel()
	m := &model{}
	s := serve(t, "--upstream", upstream(t, m))
	for range 3 {
		got, ended := complete(t, s.http+"/v1", "key-1")
		if ended != "clean" {
			t.Errorf("the stream ended with %s", ended)
		}
		sameChunks(t, m, 1, got)
	}
	if n := m.calls.Load(); n != 1 {
		t.Errorf("the upstream was called %d times, want once", n)
	}
}

func TestNpmOpenaiSeesThatAnAnswerWasCutOff(t *testing.T) {
	t.Parallel()
	m := &model{broken: true}
	s := serve(t, "--upstream", upstream(t, m))
	if got, ended := complete(t, s.http+"/v1"); ended != "error" {
		t.Errorf("after %d chunks the broken answer ended %s, want an error", len(got), ended)
	}
}

// site is an API with a page: /answer streams events without ids, and stops
// half-way until the test lets it go on.
type site struct {
	html  string
	half  chan struct{}
	calls atomic.Int32
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, s.html)
	case "/answer":
		s.calls.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		for n := range 10 {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = flush.Flush()
			if n == 4 {
				select {
				case <-s.half:
				case <-r.Context().Done():
					return
				}
			}
		}
		fmt.Fprint(w, "event: done\ndata: 10\n\n")
	default:
		http.NotFound(w, r)
	}
}

func TestChromiumResumesAnUnchangedUpstreamsStream(t *testing.T) {
	t.Parallel()
	api := &site{html: answerPage, half: make(chan struct{})}
	s := serve(t, "--upstream", upstream(t, api))
	network := cut(t, s.http)
	browser := browse(t, network.url+"/")
	for n := range 11 {
		got := decode[delivered](t, browser.line())
		if got.Data != fmt.Sprint(n) || got.ID == "" {
			t.Fatalf("event %d is %+v", n, got)
		}
		if n == 4 {
			network.cut()
			close(api.half)
		}
	}
	if n := api.calls.Load(); n != 1 {
		t.Errorf("the upstream was called %d times, want once", n)
	}
}

func TestAStrangerDoesNotReachACapturedStream(t *testing.T) {
	t.Parallel()
	m := &model{}
	s := serve(t, "--upstream", upstream(t, m))
	post := []string{"-d", "{}", s.http + "/v1/chat/completions", "-H", "Authorization: Bearer owner", "-D", "-"}
	stream := header(curl(t, post...).rest(), "Content-Location")
	if !strings.HasPrefix(stream, "/.well-known/fairlead/streams/") {
		t.Fatalf("Content-Location is %q", stream)
	}
	for _, c := range []struct{ who, want string }{{"owner", "200"}, {"stranger", "404"}} {
		if code, _ := status(t, "-H", "Authorization: Bearer "+c.who, s.http+stream); code != c.want {
			t.Errorf("the %s gets %s, want %s", c.who, code, c.want)
		}
	}
	if strings.Contains(s.errors(), strings.TrimPrefix(stream, "/.well-known/fairlead/streams/")) {
		t.Error("the log names the stream's id")
	}
}
