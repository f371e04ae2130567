package conformance_test

import (
	"fmt"
	"strings"
	"testing"
)

// delivered is an event as the scripts and pages report it.
type delivered struct {
	Via, ID, Type, Data string
}

func TestNpmEventsourceResumesThroughACutNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t)
	network := cut(t, s.http)
	s.publish("news", "0")
	source := node(t, "eventsource.mjs", network.url+"/topics/news?after=earliest")
	for i := range 9 {
		got := decode[delivered](t, source.line())
		if got.Data != fmt.Sprint(i) || got.ID == "" {
			t.Fatalf("event %d is %+v", i, got)
		}
		if i%3 == 2 {
			network.cut()
		}
		s.publish("news", fmt.Sprint(i+1))
	}
}

func TestNpmEventsourceStopsAtTheEnd(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.publish("job", "half")
	source := node(t, "eventsource.mjs", s.http+"/topics/job?after=earliest")
	decode[delivered](t, source.line())
	curl(t, "-d", "whole", "-H", "Content-Type: text/plain", "-H", "Fairlead-Close: ?1", s.http+"/topics/job").rest()
	var got []string
	for got == nil || got[len(got)-1] != "closed" {
		e := decode[delivered](t, source.line())
		got = append(got, e.Data+e.Type)
	}
	if len(got) != 3 || got[0] != "whole" || !strings.HasSuffix(got[1], "fairlead.end") {
		t.Errorf("after the close came %q, want the event, the end, and no reconnect", got)
	}
}

func TestNpmWsReadsManyTopicsOnOneSocket(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.publish("a", "a0")
	s.publish("b", "b0")
	url := "ws" + strings.TrimPrefix(s.http, "http") + "/topics"
	socket := node(t, "ws.mjs", url, "fairlead.v1.json",
		`{"id":1,"subscribe":"a","after":"earliest"}`,
		`{"id":2,"subscribe":"b","after":"earliest"}`,
		`{"id":3,"publish":"a","data":{"n":1}}`,
		`{"id":4,"subscribe":"no/such"}`,
		`{"id":5,"ping":true}`)
	if open := decode[struct{ Open string }](t, socket.line()); open.Open != "fairlead.v1.json" {
		t.Fatalf("the subprotocol is %q", open.Open)
	}
	type message struct {
		ID    int
		OK    any
		Error *struct{ Code string }
		Event *struct {
			Topic, Cursor string
			Data          any
		}
	}
	answered, events := map[int]string{}, map[string]string{}
	for len(answered) < 5 || events["a"] != "a0 map[n:1]" || events["b"] != "b0" {
		switch m := decode[message](t, socket.line()); {
		case m.Error != nil:
			answered[m.ID] = m.Error.Code
		case m.Event != nil:
			events[m.Event.Topic] = strings.TrimSpace(events[m.Event.Topic] + " " + fmt.Sprint(m.Event.Data))
		default:
			answered[m.ID] = "ok"
		}
	}
	if answered[4] != "not_found" || answered[1] != "ok" || answered[3] != "ok" || answered[5] != "ok" {
		t.Errorf("answers are %v", answered)
	}
}

func TestNpmWsIsRefusedAnUnknownSubprotocol(t *testing.T) {
	t.Parallel()
	s := serve(t)
	socket := node(t, "ws.mjs", "ws"+strings.TrimPrefix(s.http, "http")+"/topics", "fairlead.v9")
	socket.rest()
	if !strings.Contains(socket.errors(), "400") {
		t.Errorf("the refusal is %q, want status 400", socket.errors())
	}
}

func TestNpmWsIsToldToComeBackWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	s := serve(t)
	at := s.publish("news", "0")
	socket := node(t, "ws.mjs", "ws"+strings.TrimPrefix(s.http, "http")+"/topics/news?after=earliest")
	decode[struct{ Open string }](t, socket.line())
	socket.line()
	s.stop()
	advice := decode[struct {
		Draining struct {
			RetryAfterMs float64 `json:"retry_after_ms"`
			Cursors      map[string]string
		}
	}](t, socket.line()).Draining
	if advice.Cursors["news"] != at || advice.RetryAfterMs <= 0 {
		t.Errorf("the advice is %+v, want the cursor %s and a time", advice, at)
	}
	if code := decode[struct{ Close int }](t, socket.line()).Close; code != 1012 {
		t.Errorf("the close code is %d, want 1012", code)
	}
}

func TestNpmEventsourceResumesSeveralTopicsOnOneStream(t *testing.T) {
	t.Parallel()
	s := serve(t)
	network := cut(t, s.http)
	for _, topic := range []string{"a", "b"} {
		s.publish(topic, topic+"0")
	}
	source := node(t, "eventsource.mjs", network.url+"/topics?topic=a&topic=b&after=earliest")
	next := map[string]int{"a": 0, "b": 0}
	for i := range 4 {
		for next["a"] <= i || next["b"] <= i {
			got := decode[delivered](t, source.line())
			topic := got.Data[:1]
			if got.Data != topic+fmt.Sprint(next[topic]) || got.ID == "" {
				t.Fatalf("after %v came %+v", next, got)
			}
			next[topic]++
		}
		if i == 1 {
			network.cut()
		}
		for _, topic := range []string{"a", "b"} {
			s.publish(topic, topic+fmt.Sprint(i+1))
		}
	}
}
