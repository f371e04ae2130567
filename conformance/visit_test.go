package conformance_test

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/websocket"
)

//go:embed testdata/edge.html
var edgePage string

// visited is an API with a page on which a browser tries the edge and reports.
type visited struct {
	t       *testing.T
	server  *server
	reports chan report
	held    chan struct{} // closed when a request to /hold has come
	body    string        // of /speed and /size
}

// report is what the page says of one thing that it tried.
type report struct {
	Via, ID, Data, Coding, Sum, Protocol string

	Size int // of the coded body
}

// visitedEdge starts fairlead in front of an API with the page. Further configuration
// and routes are given as YAML.
func visitedEdge(t *testing.T, html, config string, routes ...string) *visited {
	t.Helper()
	v := &visited{t: t, reports: make(chan report, 64), held: make(chan struct{}), body: strings.Repeat(`{"name":"a reading","value":42}`+"\n", 1000)}
	api := http.NewServeMux()
	api.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, html)
	})
	for _, path := range []string{"GET /speed", "GET /size", "GET /shared"} {
		api.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, v.body)
		})
	}
	api.HandleFunc("GET /echo", echo)
	var once sync.Once // a browser tries again by itself
	api.HandleFunc("GET /hold", func(_ http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			close(v.held)
			<-r.Context().Done()
		})
	})
	api.HandleFunc("POST /report", v.report)
	v.server = edge(t, config+"drain: {window: 100ms}\ntopics_prefix: /topics\nupstreams: {api: {preserve_host: true, endpoints: ["+upstream(t, api)+"]}}\n"+
		"routes: [{path: /**, upstream: api}, {path: /speed, upstream: api, compress: speed}, {path: /size, upstream: api, compress: size}"+
		strings.Join(append([]string{""}, routes...), ", ")+"]\n")
	v.server.publish("news", "0")
	return v
}

// url is the page's.
func (v *visited) url() string { return v.at(v.server.https) }

// at is the page's URL on the port of a base URL.
func (v *visited) at(base string) string {
	return fmt.Sprint("https://localhost:", port(v.t, base), "/")
}

func (v *visited) report(_ http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var got report
	if err == nil {
		err = json.Unmarshal(b, &got)
	}
	if err != nil {
		got = report{Via: "page", Data: fmt.Sprintf("reports %q: %v", b, err)}
	}
	v.reports <- got
}

// echo returns the messages of a WebSocket.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, websocket.Config{})
	if err != nil {
		return // the client was told
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read()
		if err != nil || c.Write(kind, message) != nil {
			return
		}
	}
}

// next returns what the page reports next.
func (v *visited) next() report {
	v.t.Helper()
	select {
	case got := <-v.reports:
		return got
	case <-time.After(patience):
		v.t.Fatal("the page has not reported what was waited for")
		return report{}
	}
}

// expectAll fails unless the page gets all that it tries, and by the protocol.
func (v *visited) expectAll(protocol string) {
	v.t.Helper()
	if got := v.next(); got.Via != "page" || got.Data != "" || got.Protocol != protocol {
		v.t.Fatalf("the page came by %q, want %s: %+v", got.Protocol, protocol, got)
	}
	sum := sha256.Sum256([]byte(v.body))
	for _, f := range []struct{ path, coding string }{{"/speed", "zstd"}, {"/size", "br"}} {
		want := report{Via: "fetch", Data: f.path, Coding: f.coding, Sum: hex.EncodeToString(sum[:]), Protocol: protocol}
		if got := v.next(); got != want {
			v.t.Errorf("the page fetched %+v, want %+v", got, want)
		}
	}
	next := map[string]int{"eventsource": 0, "websocket": 0}
	echoed := false
	for i := range 3 {
		for next["eventsource"] <= i || next["websocket"] <= i || !echoed {
			got := v.next()
			if got.Via == "echo" && got.Data == "to the upstream and back" {
				echoed = true
				continue
			}
			if n, ok := next[got.Via]; !ok || got.Data != fmt.Sprint(n) || got.ID == "" {
				v.t.Fatalf("after %v came %+v", next, got)
			}
			next[got.Via]++
		}
		v.server.publish("news", fmt.Sprint(i+1))
	}
}

// expectLogged stops the server and fails unless its access log has the page's
// streams and WebSockets with these methods and versions of HTTP.
func (v *visited) expectLogged(streams, sockets string) {
	v.t.Helper()
	v.server.stop()
	for path, want := range map[string][]string{"/echo": {sockets}, "/topics/news": {streams, sockets}} {
		got := map[string]int{}
		for line := range strings.Lines(v.server.errors()) {
			var entry struct {
				Method string `json:"method"`
				Path   string `json:"path"`
				Proto  string `json:"proto"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Path == path && entry.Method != http.MethodPost {
				got[entry.Method+" "+entry.Proto]++
			}
		}
		for _, w := range want {
			got[w]--
		}
		for w, n := range got {
			if n != 0 {
				v.t.Errorf("the browser asked for %s by %s %d times more often than expected", path, w, n)
			}
		}
	}
}
