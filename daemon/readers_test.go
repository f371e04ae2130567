package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestReadersAreSeenByThePatternsOfTheirTopics(t *testing.T) {
	p := start(t, "topics: [{match: ticks/*, retain: {events: 2}}, {match: idle/*, retain: {events: 2}}]", daemon.Options{})
	at := ""
	for range 5 {
		status, text := answer(t, http.MethodPost, p.http+"/topics/ticks/secret", "x", "Content-Type", "text/plain")
		if status != http.StatusCreated {
			t.Fatalf("publish: %d %s", status, text)
		}
		if at == "" {
			_, at, _ = strings.Cut(text, `"cursor":"`)
			at, _, _ = strings.Cut(at, `"`)
		}
	}
	s := stream(t, p.http+"/topics/ticks/secret?after="+at)
	if _, kind, _, err := s.next(); err != nil || kind != "fairlead.gap" {
		t.Fatalf("the first is %q, %v", kind, err)
	}
	s.want("x")
	eventually(t, "the metrics tell it", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
		if strings.Contains(text, "secret") {
			t.Fatal("the metrics name a topic")
		}
		for _, want := range []string{
			`fairlead_topic_readers{topics="ticks/*"} 1`, `fairlead_topic_readers{topics="idle/*"} 0`, `fairlead_topic_readers{topics="**"} 0`,
			`fairlead_topic_lag_events{topics="ticks/*"} 0`, `fairlead_topic_lag_max_events{topics="ticks/*"} 0`,
			`fairlead_topic_gaps_total{topics="ticks/*"} 1`,
			`fairlead_session_buffered_bytes{transport="sse"} 0`, `fairlead_session_unsent_bytes{transport="websocket"} 0`, `fairlead_session_buffered_bytes{transport="poll"} 0`,
		} {
			if !strings.Contains(text, want+"\n") {
				return false
			}
		}
		return true
	})
	eventually(t, "the page tells it", func() bool {
		all := connections(t, p).Sessions
		return len(all) == 1 && all[0]["lag"] == 0.0 && all[0]["gaps"] == 1.0
	})
	_ = s.res.Body.Close()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestATimeTooShortToTellASlowReaderIsRefused(t *testing.T) {
	for text, wrong := range map[string]bool{"10s": true, "29s": true, "30s": false, "0s": false} {
		_, err := daemon.Load(daemon.Options{Config: write(t, "limits: {slow_reader: "+text+"}")})
		if (err != nil) != wrong || wrong && !strings.Contains(err.Error(), "too short to tell who is slow") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
