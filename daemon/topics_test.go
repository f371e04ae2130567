package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestATopicIsReadOnOneTransportWhereAnotherStopped(t *testing.T) {
	p := start(t, "topics: [{match: news/*, retain: {events: 100}}]\ndrain: {window: 200ms}", daemon.Options{})
	publish := func(data string) {
		t.Helper()
		if status, text := answer(t, http.MethodPost, p.http+"/topics/news/a", data, "Content-Type", "text/plain"); status != http.StatusCreated {
			t.Fatalf("publish: %d %s", status, text)
		}
	}
	publish("one")
	s := stream(t, p.http+"/topics/news/a?after=earliest")
	id := s.want("one")
	publish("two")
	s.want("two")

	c, res, err := websocket.Dial(t.Context(), strings.Replace(p.http, "http", "ws", 1)+"/topics/news/a?after="+id, websocket.DialConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	var envelope struct {
		Data   string `json:"data"`
		Cursor string `json:"cursor"`
	}
	_, message, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(message, &envelope); err != nil || envelope.Data != "two" {
		t.Errorf("over the WebSocket: %s, %v", message, err)
	}
	publish("three")
	_, page := answer(t, http.MethodGet, p.http+"/topics/news/a?after="+envelope.Cursor, "", "Accept", "application/json")
	if !strings.Contains(page, `"three"`) || strings.Contains(page, `"two"`) {
		t.Errorf("page: %s", page)
	}

	eventually(t, "the page's reader is off the list", func() bool {
		status := connections(t, p)
		return len(status.Sessions) == 2 && status.InFlight["/topics/**"] == 2
	})
	_, metrics := answer(t, http.MethodGet, p.admin+"/metrics", "")
	for _, want := range []string{`fairlead_publishes_total{code="ok",topics="news/*"} 3`, `fairlead_sessions{transport="sse"} 1`} {
		if !strings.Contains(metrics, want) || strings.Contains(metrics, "news/a") {
			t.Errorf("metrics lack %s, or name a topic", want)
		}
	}
	_, topics := answer(t, http.MethodGet, p.admin+"/topics?prefix=news/", "")
	if !strings.Contains(topics, `"name": "news/a"`) || !strings.Contains(topics, `"readers": 2`) {
		t.Errorf("topics: %s", topics)
	}

	// Both are told to come back, and nothing is left.
	p.signals <- syscall.SIGTERM
	kind := ""
	for err = nil; err == nil && kind != "fairlead.draining"; {
		_, kind, _, err = s.next()
	}
	if err != nil {
		t.Errorf("the event stream was not told: %v", err)
	}
	for err = nil; err == nil; {
		_, _, err = c.Read()
	}
	if websocket.CloseCode(err) != 1012 {
		t.Errorf("the WebSocket closed with %v, want 1012", err)
	}
	_ = c.CloseNow()
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

func TestAReloadKeepsTheSessionsOfTopicsAndChangesTheirPolicy(t *testing.T) {
	const topics = "topics: [{match: a, retain: {events: %d}}]\nheartbeat: %ds\ndrain: {window: 0s}\n"
	file := write(t, fmt.Sprintf(topics, 10, 15))
	p := start(t, "", daemon.Options{Config: file})
	for i := range 5 {
		answer(t, http.MethodPost, p.http+"/topics/a", fmt.Sprint(i))
	}
	s := stream(t, p.http+"/topics/a")
	reload(t, p, file, fmt.Sprintf(topics, 2, 15), readAgain)
	answer(t, http.MethodPost, p.http+"/topics/a", "live")
	s.want("live")
	if _, page := answer(t, http.MethodGet, p.http+"/topics/a", "", "Accept", "application/json"); strings.Count(page, `"cursor"`) != 2 {
		t.Errorf("after the reload: %s", page)
	}
	// A session of settings that are no more goes on, and a drain finds it.
	reload(t, p, file, fmt.Sprintf(topics, 2, 16), readAgain)
	answer(t, http.MethodPost, p.http+"/topics/a", "still live")
	s.want("still live")
	if page := connections(t, p); len(page.Sessions) != 1 {
		t.Errorf("sessions: %v", page.Sessions)
	}
	p.signals <- syscall.SIGTERM
	if _, kind, _, err := s.next(); err != nil || kind != "fairlead.draining" {
		t.Errorf("%q, %v", kind, err)
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

func TestPublishingNeedsItsTokenAndTopicsCanBeOff(t *testing.T) {
	p := start(t, "publish_token: hush", daemon.Options{})
	if status, _ := answer(t, http.MethodPost, p.http+"/topics/a", "x"); status != http.StatusUnauthorized {
		t.Errorf("without the token: %d", status)
	}
	if status, _ := answer(t, http.MethodPost, p.http+"/topics/a", "x", "Authorization", "Bearer hush"); status != http.StatusCreated {
		t.Errorf("with the token: %d", status)
	}
	off := start(t, `topics_prefix: ""`, daemon.Options{})
	if status, _ := answer(t, http.MethodPost, off.http+"/topics/a", "x"); status != http.StatusNotFound {
		t.Errorf("where topics are off: %d", status)
	}
}

func TestOnAnOpenAddressPublishingIsOffWithoutAToken(t *testing.T) {
	all := "0.0.0.0:0"
	p := start(t, "", daemon.Options{HTTP: &all})
	url := strings.Replace(strings.Replace(p.http, "0.0.0.0", "127.0.0.1", 1), "[::]", "127.0.0.1", 1)
	if status, text := answer(t, http.MethodPost, url+"/topics/a", "x"); status != http.StatusForbidden || !strings.Contains(text, "publish_token") {
		t.Errorf("%d %s", status, text)
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(p.log.String(), `"publishing":"off: set publish_token`) })
}
