package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

// reload puts a new configuration in the place of the old one and waits until
// the log says what became of it.
func reload(t *testing.T, p *program, file, text, want string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := strings.Count(p.log.String(), want)
	p.signals <- syscall.SIGHUP
	eventually(t, "the log says: "+want, func() bool { return strings.Count(p.log.String(), want) > before })
}

const readAgain = "the configuration was read again"

func TestAReloadKeepsTheStreamsOfUnchangedAndOfRemovedRoutes(t *testing.T) {
	a, b := newUpstream(t), newUpstream(t)
	upstreams := fmt.Sprintf("upstreams: {a: {endpoints: [%q]}, b: {endpoints: [%q]}}\n", a.URL, b.URL)
	file := write(t, upstreams+"routes: [{path: /stream, upstream: a}, {path: /b/**, upstream: b}]\n")
	p := start(t, "", daemon.Options{Config: file})
	s := stream(t, p.http+"/stream")
	a.lines <- "one"
	id := s.want("one")

	reload(t, p, file, upstreams+"routes: [{path: /stream, upstream: a}, {path: /**, upstream: b}]\n", readAgain)
	if _, text := answer(t, http.MethodGet, p.http+"/new", ""); !strings.HasPrefix(text, "hello from") {
		t.Errorf("the new route answers %q", text)
	}
	a.lines <- "two"
	s.want("two")
	again := stream(t, p.http+"/stream", "Last-Event-ID", id)
	again.want("two")

	reload(t, p, file, upstreams, readAgain)
	if status, _ := answer(t, http.MethodGet, p.http+"/stream", ""); status != http.StatusNotFound {
		t.Errorf("the removed route answers %d", status)
	}
	a.lines <- "three"
	s.want("three")
	again.want("three")
	if a.called() != 1 {
		t.Errorf("the upstream was called %d times", a.called())
	}
	close(a.lines)
}

func TestAReloadWithOtherEndpointsLeavesTheStreamsOfTheOldOnes(t *testing.T) {
	a, b := newUpstream(t), newUpstream(t)
	const text = "upstreams: {u: {endpoints: [%q]}}\nroutes: [{path: /**, upstream: u}]\n"
	file := write(t, fmt.Sprintf(text, a.URL))
	p := start(t, "", daemon.Options{Config: file})
	s := stream(t, p.http+"/stream")
	a.lines <- "one"
	s.want("one")
	reload(t, p, file, fmt.Sprintf(text, b.URL), readAgain)
	if _, got := answer(t, http.MethodGet, p.http+"/x", ""); got != "hello from "+strings.TrimPrefix(b.URL, "http://")+"/x" {
		t.Errorf("the new endpoint: %q", got)
	}
	a.lines <- "two"
	s.want("two")
	close(a.lines)
}

func TestABadConfigurationIsLoggedWithItsPositionAndTheOldOneStays(t *testing.T) {
	up := newUpstream(t)
	good := fmt.Sprintf("upstreams: {u: {endpoints: [%q]}}\nroutes: [{path: /**, upstream: u}]\n", up.URL)
	file := write(t, good)
	p := start(t, "", daemon.Options{Config: file})
	stays := "the old one stays"
	reload(t, p, file, good+"hartbeat: 1s", stays)
	if !strings.Contains(p.log.String(), `:3:1","error":"unknown key`) {
		t.Errorf("the log does not say where:\n%s", p.log)
	}
	reload(t, p, file, good+"limits: {captured_total: 2GiB, topics: 5}", stays)
	if log := p.log.String(); strings.Count(log, "the configuration is wrong") != 1 || !strings.Contains(log, `"at":"limits.topics"`) || !strings.Contains(log, `"at":"limits.captured_total"`) {
		t.Errorf("the log does not say what needs a restart:\n%s", log)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.signals <- syscall.SIGHUP
	eventually(t, "the missing file is told", func() bool { return strings.Contains(p.log.String(), "no such file") })
	if status, _ := answer(t, http.MethodGet, p.http+"/x", ""); status != 200 {
		t.Errorf("the old route answers %d", status)
	}
	reload(t, p, file, good+"heartbeat: 1s", readAgain)
	if _, text := answer(t, http.MethodGet, p.admin+"/metrics", ""); !strings.Contains(text, `fairlead_config_reloads_total{result="refused"} 3`) {
		t.Error("the refused reloads are not counted")
	}
}

func TestAChangedListenAddressNeedsARestart(t *testing.T) {
	file := write(t, `{http: "127.0.0.1:0", admin: "127.0.0.1:0"}`)
	p := startAs(t, daemon.Options{Config: file})
	reload(t, p, file, `{http: "127.0.0.1:1", admin: "127.0.0.1:0"}`, `"at":"http","error":"a change of it needs a restart, such as`)
	if status, _ := answer(t, http.MethodGet, p.http+"/x", ""); status != http.StatusNotFound {
		t.Errorf("the old listener answers %d", status)
	}
}
