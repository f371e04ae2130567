package conformance_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// codings are content codings, and how a client decodes a stream of each.
var codings = map[string]func(io.Reader) (io.Reader, error){
	"identity": func(r io.Reader) (io.Reader, error) { return r, nil },
	"gzip":     func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"br":       func(r io.Reader) (io.Reader, error) { return brrr.NewReader(r), nil },
	"zstd": func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) // decodes in Read, and has nothing to close
	},
}

// kinds are what a response may be.
var kinds = map[string]func(*cell){
	"fixed":     (*cell).fixed,
	"proxied":   (*cell).proxied,
	"streamed":  func(c *cell) { c.lockstep("/lines/", "", "%s\n") },
	"captured":  func(c *cell) { c.lockstep("/events/", "captured", "data: %s\n\n") },
	"sse":       (*cell).sse,
	"websocket": (*cell).websocket,
}

func TestEachProtocolDeliversEachKindOfResponseInEachCoding(t *testing.T) {
	t.Parallel()
	api := &steps{body: strings.Repeat(`{"name":"a reading","value":42}`+"\n", 500), next: map[string]chan struct{}{}}
	s := edge(t, "topics_prefix: /topics\nhttp3: {websocket: true}\n"+proxied(upstream(t, api)))
	for i := range 30 {
		s.publish("pages", fmt.Sprint("an event that is a little longer than its number, which is ", i))
	}
	each(t, protocols, func(t *testing.T, p protocol) {
		for kind, test := range kinds {
			for coding := range codings {
				t.Run(kind+"/"+coding, func(t *testing.T) {
					t.Parallel()
					name := strings.Join([]string{p.name, kind, coding}, "-")
					test(&cell{t: t, protocol: p, coding: coding, name: name, server: s, api: api, client: p.client(t, authority().tls())})
				})
			}
		}
	})
}

// cell is one of the combinations.
type cell struct {
	protocol

	t            *testing.T
	coding, name string
	server       *server
	api          *steps
	client       *http.Client
}

// get asks for a path and checks what the header says of the coding.
func (c *cell) get(path, accept string) *http.Response {
	c.t.Helper()
	res := c.protocol.get(c.t.Context(), c.t, c.client, c.base(c.server)+path, "Accept", accept, "Accept-Encoding", c.coding)
	want := c.coding
	if want == "identity" {
		want = ""
	}
	if got := res.Header.Get("Content-Encoding"); res.StatusCode != http.StatusOK || got != want {
		c.t.Fatalf("the answer is %s, its coding %q, want %q", res.Status, got, want)
	}
	if vary := strings.Join(res.Header.Values("Vary"), ", "); !strings.Contains(strings.ToLower(vary), "accept-encoding") {
		c.t.Errorf("Vary is %q, want Accept-Encoding in it", vary)
	}
	return res
}

// decoded is the body as the handler wrote it.
func (c *cell) decoded(res *http.Response) io.Reader {
	c.t.Helper()
	body, err := codings[c.coding](res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return body
}

// fixed reads a page of events.
func (c *cell) fixed() {
	want := strings.Join(curl(c.t, "-H", "Accept: application/json", c.server.http+"/topics/pages").rest(), "\n")
	if got := whole(c.t, c.decoded(c.get("/topics/pages", "application/json"))); strings.TrimSpace(got) != want || len(want) < 1024 {
		c.t.Errorf("the page is %q, want %q", got, want)
	}
}

// proxied reads a body of known length and version.
func (c *cell) proxied() {
	res := c.get("/fixed", "*/*")
	length, tag := int64(len(c.api.body)), `"v1"`
	if c.coding != "identity" {
		length, tag = -1, `W/"v1"`
	}
	if got := res.Header.Get("ETag"); got != tag {
		c.t.Errorf("the ETag is %s, want %s", got, tag)
	}
	if res.ContentLength != length && (length >= 0 || res.ContentLength >= int64(len(c.api.body))) {
		c.t.Errorf("the length is %d, want %d", res.ContentLength, length)
	}
	if whole(c.t, c.decoded(res)) != c.api.body {
		c.t.Error("the body is not the API's")
	}
}

const lines = 5

// lockstep reads a stream of an API that writes a line when the one before has
// been read.
func (c *cell) lockstep(path, recorded, format string) {
	res := c.get(path+c.name, "*/*")
	if got := res.Header.Get("Content-Location") != ""; got != (recorded != "") {
		c.t.Errorf("the stream is recorded: %v", got)
	}
	body := bufio.NewReader(c.decoded(res))
	next := c.api.gate(c.name)
	for i := range lines {
		want := fmt.Sprintf(format, c.api.line(i))
		var got strings.Builder
		for range strings.Count(want, "\n") {
			line, err := body.ReadString('\n')
			for recorded != "" && strings.HasPrefix(line, "id:") { // which a recording adds
				line, err = body.ReadString('\n')
			}
			if err != nil {
				c.t.Fatalf("after %d lines: %v", i, err)
			}
			got.WriteString(line)
		}
		if got.String() != want {
			c.t.Fatalf("line %d is %q, want %q", i, got.String(), want)
		}
		next <- struct{}{}
	}
	if rest := whole(c.t, body); recorded == "" && rest != "" {
		c.t.Errorf("after the last line came %q", rest)
	}
}

// sse reads a topic's events, each before the next is published.
func (c *cell) sse() {
	c.server.publish(c.name, "0")
	res := c.get("/topics/"+c.name+"?after=earliest", "text/event-stream")
	events := bufio.NewScanner(c.decoded(res))
	for i := range lines {
		for events.Scan() && !strings.HasPrefix(events.Text(), "data:") {
		}
		if got := strings.TrimSpace(strings.TrimPrefix(events.Text(), "data:")); got != fmt.Sprint(i) {
			c.t.Fatalf("event %d is %q: %v", i, got, events.Err())
		}
		c.server.publish(c.name, fmt.Sprint(i+1))
	}
}

// websocket reads a topic's events likewise; no coding is for it.
func (c *cell) websocket() {
	c.server.publish(c.name, "0")
	socket := c.dial(c.t, c.base(c.server)+"/topics/"+c.name+"?after=earliest", "Accept-Encoding", c.coding)
	for i := range lines {
		var event struct {
			Data any `json:"data"`
		}
		_, message, err := socket.Read()
		if err == nil {
			err = json.Unmarshal(message, &event)
		}
		if err != nil || fmt.Sprint(event.Data) != fmt.Sprint(i) {
			c.t.Fatalf("event %d is %q: %v", i, message, err)
		}
		c.server.publish(c.name, fmt.Sprint(i+1))
	}
}

// steps is an API whose streams go on when a test says so.
type steps struct {
	body string

	mu   sync.Mutex
	next map[string]chan struct{}
}

// gate returns what lets the stream of that name go on by a line.
func (a *steps) gate(name string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next[name] == nil {
		a.next[name] = make(chan struct{})
	}
	return a.next[name]
}

func (*steps) line(i int) string { return fmt.Sprintf(`{"line":%d,"text":"a few words"}`, i) }

func (a *steps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	format := "%s\n"
	switch kind {
	case "fixed":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		fmt.Fprint(w, a.body)
		return
	case "lines":
		w.Header().Set("Content-Type", "application/x-ndjson")
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		format = "data: %s\n\n"
	}
	flush, next := http.NewResponseController(w), a.gate(name)
	for i := range lines {
		fmt.Fprintf(w, format, a.line(i))
		_ = flush.Flush()
		select {
		case <-next:
		case <-r.Context().Done():
			return
		}
	}
}
