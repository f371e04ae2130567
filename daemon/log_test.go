package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

// records returns what was logged under a message, of those that have the value of a
// member.
func records(t *testing.T, p *program, msg, member string, value any) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		var r map[string]any
		if json.Unmarshal([]byte(line), &r) == nil && r["msg"] == msg && r[member] == value {
			all = append(all, r)
		}
	}
	return all
}

func TestARouteIsLoggedByItsShareButFaultsAlways(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "upstreams: {api: {endpoints: ["+up.URL+"]}, gone: {endpoints: [\"http://127.0.0.1:1\"]}}\n"+
		"routes:\n  - {path: /**, upstream: api, log: 0.1}\n  - {path: /gone, upstream: gone, log: 0}\n"+
		"topics: [{match: \"quiet\", log: 0}]\n", daemon.Options{})
	for range 20 {
		answer(t, http.MethodGet, p.http+"/hello", "")
	}
	answer(t, http.MethodPost, p.http+"/topics/quiet", "one", "Content-Type", "text/plain")
	answer(t, http.MethodPost, p.http+"/topics/loud", "one", "Content-Type", "text/plain")
	answer(t, http.MethodGet, p.http+"/gone", "")
	eventually(t, "the last is logged", func() bool { return len(records(t, p, "request", "route", "/gone")) == 1 })
	hellos := records(t, p, "request", "path", "/hello")
	if len(hellos) != 2 || hellos[0]["sample"] != 0.1 {
		t.Errorf("%v", hellos)
	}
	if gone := records(t, p, "request", "route", "/gone")[0]; gone["status"].(float64) < 500 || gone["sample"] != nil {
		t.Errorf("%v", gone)
	}
	if quiet, loud := records(t, p, "request", "path", "/topics/quiet"), records(t, p, "request", "path", "/topics/loud"); len(quiet) != 0 || len(loud) != 1 {
		t.Errorf("%v %v", quiet, loud)
	}
}

func TestAShareIsNumberOrPercent(t *testing.T) {
	_, err := daemon.Load(daemon.Options{Config: write(t, "upstreams: {a: {endpoints: [\"http://127.0.0.1:1\"]}}\n"+
		"routes: [{path: /a, upstream: a, log: 2}]\ntopics: [{match: a, log: often}]\nlog: {connections: -1}\n")})
	for _, want := range []string{`"2" is not a share`, `"often" is not a share`, `"-1" is not a share`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v has no %s", err, want)
		}
	}
}

func TestAConnectionHasOneRecordAtItsEnd(t *testing.T) {
	p := start(t, "", daemon.Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	client := conn.LocalAddr().String()
	for range 2 {
		if _, err := conn.Write([]byte("GET /topics/a HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	in := bufio.NewReader(conn)
	for range 2 {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	_ = conn.Close()
	eventually(t, "it is logged", func() bool { return len(records(t, p, "connection", "client", client)) == 1 })
	r := records(t, p, "connection", "client", client)[0]
	if r["listener"] != "http" || r["protocol"] != "h1" || r["requests"] != 2.0 || r["reason"] != "client_closed" || r["duration_seconds"].(float64) <= 0 || r["sample"] != nil {
		t.Errorf("%v", r)
	}
}

func TestTheRecordOfASessionSaysWhyItEndedWhoeverServesIt(t *testing.T) {
	for name, engine := range map[string]string{"engine": "true", "handler": "false"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "drain: {window: 0s}\nfanout: {engine: "+engine+"}\n", daemon.Options{})
			answer(t, http.MethodPost, p.http+"/topics/a", "one", "Content-Type", "text/plain")
			s := stream(t, p.http+"/topics/a?after=earliest", "Accept-Encoding", "identity")
			s.want("one")
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = conn.Write([]byte("GET /topics/a?after=earliest HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
			eventually(t, "both read", func() bool { return len(connections(t, p).Sessions) == 2 })
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			for status, what := range map[float64]string{200: "event stream", 101: "WebSocket"} {
				all := records(t, p, "request", "status", status)
				all = all[len(all)-1:]
				if r := all[0]; r["reason"] != "draining" || r["bytes"].(float64) < 10 {
					t.Errorf("%s: %v", what, r)
				}
			}
		})
	}
}

func TestARecordHasItsPlaceHoweverLongThePathIs(t *testing.T) {
	p := start(t, "upstreams: {gone: {endpoints: [\"http://127.0.0.1:1\"]}}\nroutes: [{path: /**, upstream: gone}]\n", daemon.Options{})
	answer(t, http.MethodGet, p.http+"/evil"+strings.Repeat("%01", 15_000), "")
	answer(t, strings.Repeat("M", 20_000), p.http+"/x", "")
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	all := records(t, p, "request", "route", "/**")
	if len(all) != 2 {
		t.Fatalf("%d records: %.2000s", len(all), p.log)
	}
	if path, method := all[0]["path"].(string), all[1]["method"].(string); !strings.HasPrefix(path, "/evil\x01") || len(path) > 3000 || len(method) > 100 || all[0]["status"] != 502.0 {
		t.Errorf("%.100q, %.100q: %v", path, method, all[0]["status"])
	}
}

func TestAnInterimResponseIsNoAnswer(t *testing.T) {
	left := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		<-left
		<-r.Context().Done()
	}))
	defer up.Close()
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	ctx, leave := context.WithCancel(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		close(left)
		return nil
	}}))
	go func() { <-left; leave() }()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, p.http+"/hints", http.NoBody)
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error(res.Status)
	}
	eventually(t, "it is logged", func() bool { return len(records(t, p, "request", "path", "/hints")) == 1 })
	if r := records(t, p, "request", "path", "/hints")[0]; r["status"] != 0.0 || r["reason"] != "cancelled" {
		t.Errorf("%v", r)
	}
	if _, text := answer(t, http.MethodGet, p.admin+"/metrics", ""); strings.Contains(text, `code="103"`) || strings.Contains(text, `fairlead_http_first_byte_seconds_count{method="GET",route="/**"}`) {
		t.Error("an answer is counted")
	}
}
