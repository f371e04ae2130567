package daemon_test

import (
	"bufio"
	"compress/gzip"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestTheMetricsFollowReadersOfEachTransportWhileTheyRead(t *testing.T) {
	p := start(t, "topics: [{match: 'ticks/*', deliver: newest 1}]\nmetrics: {event_types: [tick]}\n", daemon.Options{})
	publish := func(kind, text string) (cursor string) {
		if status, answered := answer(t, http.MethodPost, p.http+"/topics/ticks/secret", text, "Content-Type", "text/plain", "Fairlead-Type", kind); status != http.StatusCreated {
			t.Fatalf("publish: %d %s", status, answered)
		} else {
			_, cursor, _ = strings.Cut(answered, `"cursor":"`)
		}
		cursor, _, _ = strings.Cut(cursor, `"`)
		return cursor
	}
	publish("tick", "-1")
	first := publish("tick", "0")
	s := stream(t, p.http+"/topics/ticks/secret")
	coded := request(t, http.MethodGet, p.http+"/topics/ticks/secret", "", "Accept", "text/event-stream", "Accept-Encoding", "gzip")
	c, _, err := websocket.Dial(t.Context(), strings.Replace(p.http, "http", "ws", 1)+"/topics", websocket.DialConfig{
		Config: websocket.Config{Subprotocols: []string{"fairlead.v1.json"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for _, text := range []string{`{"id":1,"subscribe":"ticks/secret"}`, `{"id":2,"unsubscribe":"nothing"}`} {
		if err := c.Write(websocket.Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
	}
	var plain *bufio.Scanner
	codedWants := func(line string) {
		t.Helper()
		if plain == nil {
			z, err := gzip.NewReader(coded.Body)
			if err != nil {
				t.Fatal(err)
			}
			plain = bufio.NewScanner(z)
		}
		for plain.Scan() {
			if plain.Text() == line {
				return
			}
		}
		t.Fatalf("the coded stream ends before %q: %v", line, plain.Err())
	}
	publish("secret.type", "1")
	s.want("1")
	codedWants("data: 1")
	if _, text, err := c.Read(); err != nil || !strings.Contains(string(text), `"1"`) {
		t.Fatalf("the socket gets %s, %v", text, err)
	}
	publish("tick", "2")
	s.want("2")
	codedWants("data: 2")
	if _, text, err := c.Read(); err != nil || !strings.Contains(string(text), `"2"`) {
		t.Fatalf("the socket gets %s, %v", text, err)
	}
	answer(t, http.MethodGet, p.http+"/topics/ticks/secret?after="+first, "", "Accept", "application/json")
	wants := []string{
		`fairlead_session_establishment_seconds_count{transport="sse"} 2`, `fairlead_session_establishment_seconds_count{transport="websocket"} 1`,
		`fairlead_session_first_event_seconds_count{transport="websocket"} 1`,
		`fairlead_delivery_delay_seconds_count{transport="sse"} 4`, `fairlead_delivery_delay_seconds_count{transport="websocket"} 2`,
		`fairlead_events_delivered_total{transport="sse"} 4`, `fairlead_events_delivered_total{transport="websocket"} 2`, `fairlead_events_delivered_total{transport="poll"} 1`,
		`fairlead_event_type_delivered_total{transport="sse",type="other"} 2`, `fairlead_event_type_data_bytes_total{transport="poll",type="tick"} 1`, `fairlead_event_gap_seconds_count{transport="sse"} 2`,
		`fairlead_subscriptions_total{from="not",transport="websocket"} 1`,
		`fairlead_messages_total{direction="received",kind="subscribe",transport="websocket"} 1`, `fairlead_message_answer_seconds_count{kind="subscribe",transport="websocket"} 1`,
		`fairlead_message_errors_total{code="not_found",kind="unsubscribe",transport="websocket"} 1`,
		`fairlead_topic_events_skipped_total{policy="newest",topics="ticks/\*"} [1-9]`, `fairlead_events_skipped_total{transport="poll"} [1-9]`,
		`fairlead_compression_bytes_total{coding="gzip",stage="before"} [1-9]`, `fairlead_compression_seconds_total{coding="gzip"} [0-9.e-]*[1-9]`,
		`fairlead_sessions{transport="sse"} 2`,
	}
	missing := ""
	defer func() {
		if missing != "" {
			t.Error("missing:", missing)
		}
	}()
	eventually(t, "the metrics follow", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
		if strings.Contains(text, "secret") {
			t.Fatal("the metrics name a topic or a type")
		}
		for _, want := range wants {
			if missing = want; !regexp.MustCompile("(?m)^" + want).MatchString(text) {
				return false
			}
		}
		missing = ""
		return true
	})
	_ = s.res.Body.Close()
	_ = coded.Body.Close()
	c.CloseNow()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
