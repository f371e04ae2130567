package daemon_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/upstream"
)

// poolsOf returns the state of the pools of p, by name.
func poolsOf(t *testing.T, p *program) map[string]upstream.Snapshot {
	t.Helper()
	var page struct {
		Pools []upstream.Snapshot `json:"pools"`
	}
	status, text := answer(t, http.MethodGet, p.admin+"/pools", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	all := make(map[string]upstream.Snapshot)
	for _, s := range page.Pools {
		all[s.Name] = s
	}
	return all
}

func TestAnOperatorSeesWhyEachConnectionWasOpenedAndClosed(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := start(t, `
upstreams:
  api: {endpoints: ["`+up.URL+`"]}
  spare: {endpoints: ["http://127.0.0.1:1"]}
routes:
  - {path: "/api/**", upstream: api}
  - {path: "/spare/**", upstream: spare}
`, daemon.Options{})
	events := stream(t, p.admin+"/pools/api/events")
	for range 3 {
		answer(t, http.MethodGet, p.http+"/api/x", "")
	}

	var opened upstream.Event
	id, kind, data, err := events.next()
	for ; err == nil && kind != "opened"; id, kind, data, err = events.next() {
		continue
	}
	if e := json.Unmarshal([]byte(data), &opened); err != nil || e != nil || opened.Why == "" || opened.Endpoint != up.URL {
		t.Fatalf("event %s, %v, %v", data, err, e)
	}

	if s := poolsOf(t, p)["api"]; s.Requests != 3 || s.Reused != 2 || s.Dials["ok"] != 1 || len(s.Endpoints) != 1 || s.Endpoints[0].State != "ok" {
		t.Errorf("snapshot %+v", s)
	}

	var page struct {
		Total       int                       `json:"total"`
		Connections []upstream.ConnectionInfo `json:"connections"`
	}
	_, text := answer(t, http.MethodGet, p.admin+"/pools/api/connections", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil || page.Total != 1 || len(page.Connections) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	if c := page.Connections[0]; c.ID != opened.Conn || c.Why != opened.Why || c.Requests != 3 || c.Read == 0 {
		t.Errorf("connection %+v of event %s", c, data)
	}

	up.CloseClientConnections()
	var closed upstream.Event
	for kind = ""; err == nil && kind != "closed"; {
		id, kind, data, err = events.next()
	}
	if e := json.Unmarshal([]byte(data), &closed); err != nil || e != nil || closed.Conn != opened.Conn || closed.Reason != "idle_peer" || closed.Why == "" {
		t.Errorf("event %s, %v, %v", data, err, e)
	}
	_, text = answer(t, http.MethodGet, p.admin+"/pools/api/events?after="+id, "", "Accept", "application/json")
	if !strings.Contains(text, `"skipped": 0`) {
		t.Errorf("as JSON: %s", text)
	}
}

func TestPoolsAreOnTheAdminPagesAndInTheMetricsFromTheStart(t *testing.T) {
	t.Parallel()
	p := start(t, `
upstreams:
  api: {endpoints: ["http://127.0.0.1:2"]}
routes:
  - {path: "/**", upstream: api}
`, daemon.Options{})
	_, index := answer(t, http.MethodGet, p.admin+"/", "")
	if !strings.Contains(index, "pools:\n  api: 1 endpoint, 0 connections: too few requests yet (0 in the last minute) to say\n") {
		t.Errorf("index %s", index)
	}
	_, metrics := answer(t, http.MethodGet, p.admin+"/metrics", "")
	for _, want := range []string{
		`endpoint_up{endpoint="http://127.0.0.1:2",pool="api"} 1`,
		`connections{endpoint="http://127.0.0.1:2",pool="api",state="idle"} 0`,
		`dials_total{pool="api",result="refused"} 0`,
		`connections_closed_total{pool="api",reason="idle_peer"} 0`,
		`retries_total{class="unsent",pool="api"} 0`,
		`refusals_total{pool="api",reason="queue_full"} 0`,
		`wait_seconds_count{pool="api"} 0`,
		`suggested_connections{pool="api"} 0`,
		`duplicate_pools{pool="api"} 0`,
	} {
		if !strings.Contains(metrics, "\nfairlead_upstream_"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if status, text := answer(t, http.MethodGet, p.admin+"/pools/none/events", ""); status != http.StatusNotFound || !strings.Contains(text, "the pools are api") {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := answer(t, http.MethodGet, p.http+"/pools", ""); status == http.StatusOK {
		t.Error("the pools are on the public listener")
	}
}

func TestAStreamOfPoolEventsEndsWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	p := start(t, `
upstreams:
  api: {endpoints: ["http://127.0.0.1:1"]}
routes:
  - {path: "/**", upstream: api}
drain: {window: 10ms, deadline: 5s}
`, daemon.Options{})
	events := stream(t, p.admin+"/pools/api/events")
	p.signals <- syscall.SIGTERM
	for err := error(nil); err == nil; {
		_, _, _, err = events.next()
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

func TestAReloadOfAnUpstreamIsToldToWhoReadsItsEvents(t *testing.T) {
	t.Parallel()
	was, now := newUpstream(t), newUpstream(t)
	config := func(endpoint string) string {
		return "upstreams: {api: {endpoints: [\"" + endpoint + "\"]}}\nroutes: [{path: \"/**\", upstream: api}]\n"
	}
	file := write(t, config(was.URL))
	p := start(t, "", daemon.Options{Config: file})
	events := stream(t, p.admin+"/pools/api/events")
	answer(t, http.MethodGet, p.http+"/x", "")
	reload(t, p, file, config(now.URL), readAgain)
	answer(t, http.MethodGet, p.http+"/x", "")
	var kinds []string
	for {
		_, kind, data, err := events.next()
		if err != nil {
			t.Fatalf("after %v: %v", kinds, err)
		}
		kinds = append(kinds, kind)
		if kind == "opened" && strings.Contains(data, now.URL) {
			break
		}
	}
	if !slices.Contains(kinds, "fairlead.replaced") {
		t.Errorf("events %v", kinds)
	}
}
