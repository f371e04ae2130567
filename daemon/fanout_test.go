package daemon_test

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestAReadersConnectionIsSeenUntilItEndsWhoeverServesIt(t *testing.T) {
	const engineOff = "fanout: {engine: false}\n"
	file := write(t, "heartbeat: 15s\n")
	p := start(t, "", daemon.Options{Config: file})
	publish := func(data string) {
		t.Helper()
		if status, text := answer(t, http.MethodPost, p.http+"/topics/a", data, "Content-Type", "text/plain"); status != http.StatusCreated {
			t.Fatalf("publish: %d %s", status, text)
		}
	}
	publish("one")
	// Go's client would accept gzip, for which a goroutine is.
	first := stream(t, p.http+"/topics/a?after=earliest", "Accept-Encoding", "identity")
	first.want("one")
	reload(t, p, file, engineOff, readAgain)
	second := stream(t, p.http+"/topics/a?after=earliest", "Accept-Encoding", "identity")
	second.want("one")
	publish("two")
	first.want("two")
	second.want("two")

	eventually(t, "all is written", func() bool {
		return !slices.ContainsFunc(connections(t, p).Sessions, func(s map[string]any) bool { return s["buffered_bytes"] != 0.0 })
	})
	engine := map[bool]int{}
	for _, s := range connections(t, p).Sessions {
		served, ok := s["engine"].(bool)
		_, unsent := s["unsent_bytes"]
		received, err := time.Parse(time.RFC3339Nano, s["last_received"].(string))
		if !ok || unsent != served || err != nil || time.Since(received) > time.Hour {
			t.Errorf("%v", s)
		}
		engine[served]++
	}
	if linux := runtime.GOOS == "linux"; linux && engine[true] != 1 || engine[false] != 2-engine[true] {
		t.Errorf("by engine: %v", engine)
	}
	if n := connections(t, p).InFlight["/topics/**"]; n != 2 {
		t.Errorf("%d in flight", n)
	}
	const record = `"path":"/topics/a","route":"/topics/**","status":200`
	if strings.Contains(p.log.String(), record) {
		t.Errorf("a reader's record comes before its end: %s", p.log.String())
	}
	_ = first.res.Body.Close()
	_ = second.res.Body.Close()
	eventually(t, "both are over", func() bool { return strings.Count(p.log.String(), record) == 2 && len(connections(t, p).InFlight) == 0 })
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestTheDeadlineOfADrainEndsTheConnectionsOfTheEngine(t *testing.T) {
	p := start(t, "drain: {window: 0s, deadline: 0s}", daemon.Options{})
	if status, text := answer(t, http.MethodPost, p.http+"/topics/a", "one", "Content-Type", "text/plain"); status != http.StatusCreated {
		t.Fatalf("publish: %d %s", status, text)
	}
	s := stream(t, p.http+"/topics/a", "Accept-Encoding", "identity")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	for err := error(nil); err == nil; {
		_, _, _, err = s.next()
	}
	if strings.Contains(p.log.String(), "did not end although") {
		t.Error("a connection outlives the drain's deadline")
	}
}
