package deliver_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// h2site is a site whose handler the test has, with sockets over HTTP/2.
func h2site(t *testing.T, cfg deliver.Config) (*site, *deliver.Handler, chan deliver.Ended) {
	t.Helper()
	ended := make(chan deliver.Ended, 10)
	cfg.Topics = topic.NewStore(topic.StoreConfig{})
	cfg.AllowPublish = true
	cfg.Observer.Closed = func(e deliver.Ended) { ended <- e }
	h := deliver.New(cfg)
	server := unstarted(cfg)
	server.Config.Handler = h
	return &site{t: t, url: startedH2C(t, server).URL, topics: cfg.Topics, h2: h2client.New(t)}, h, ended
}

func TestSocketsAndAnEventStreamShareOneConnection(t *testing.T) {
	t.Parallel()
	s, h, ended := h2site(t, deliver.Config{})
	s.publish("a", "a0")
	s.publish("b", "b0")
	first, second := s.socket("/topics/a?after=earliest"), s.socket("/topics/b?after=earliest")
	both := s.socket("/topics", "fairlead.v1.json")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/topics?topic=a&topic=b&after=earliest", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.h2.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := newEvents(t, resp)
	both.send(`{"id":1,"subscribe":"a","after":"earliest"}`)
	if m := both.next(); m.OK == nil {
		t.Fatal(m.text)
	}
	first.expect("a0")
	second.expect("b0")
	both.expect("a0")
	seen := map[string]bool{string(stream.next().Data): true, string(stream.next().Data): true}
	if !seen["a0"] || !seen["b0"] {
		t.Errorf("the stream has %v", seen)
	}
	remotes := map[string]int{}
	for _, i := range h.Sessions(0) {
		remotes[i.Remote]++
	}
	if len(remotes) != 1 || len(h.Sessions(0)) != 4 {
		t.Errorf("sessions by connection: %v", remotes)
	}

	// Each ends by itself.
	if err := first.Close(websocket.NormalClosure, ""); err != nil {
		t.Error(err)
	}
	if e := <-ended; e.Reason != fairlead.Cancelled || e.Transport != deliver.TransportWebSocket {
		t.Errorf("%+v", e)
	}
	s.publish("b", "b1")
	second.expect("b1")
	s.publish("b", "", "Fairlead-Close: ?1")
	if code, _ := second.closed(); code != websocket.NormalClosure {
		t.Errorf("the topic's end closes with %d", code)
	}
	<-ended
	s.publish("a", "a1")
	both.expect("a1")
}

func TestASocketThatIsResetOrFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	s, _, ended := h2site(t, deliver.Config{Heartbeat: time.Second})
	s.publish("t", "first")
	alive := s.socket("/topics/t")
	message := make(chan string, 1)
	go func() {
		_, p, _ := alive.Read() // which answers pings
		message <- string(p)
	}()
	stream, _ := s.h2.Connect(s.url+"/topics/t", h2client.WebSocket())
	stream.Reset()
	if e := <-ended; e.Reason != fairlead.Cancelled {
		t.Errorf("a reset: %+v", e)
	}
	_, _ = s.h2.Connect(s.url+"/topics/t", h2client.WebSocket()) // and reads nothing, so answers no ping
	if e := <-ended; e.Reason != fairlead.DeadlineExceeded {
		t.Errorf("silence: %+v", e)
	}
	s.publish("t", "still here")
	if got := <-message; got == "" {
		t.Error("who answers pings was given up too")
	}
}

func TestSocketsOverHTTP2AreSentAwayByADrain(t *testing.T) {
	t.Parallel()
	s, h, _ := h2site(t, deliver.Config{})
	s.publish("t", "first")
	polite, deaf := s.socket("/topics/t"), s.socket("/topics/t")
	closed := make(chan int)
	go func() {
		code, _ := polite.closed()
		closed <- code
	}()
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error)
	go func() { drained <- h.Drain(ctx, 0) }()
	if code := <-closed; code != websocket.ServiceRestart {
		t.Errorf("closed with %d", code)
	}
	if m := deaf.next(); m.Draining == nil {
		t.Errorf("it was told %s", m.text)
	}
	cancel() // deaf does not answer its close: it is reset
	<-drained
}

func TestAnotherConnectIsNoMethodOfATopic(t *testing.T) {
	t.Parallel()
	s, _, _ := h2site(t, deliver.Config{})
	for _, path := range []string{"/topics", "/topics/t"} {
		if resp, _ := s.h2.Refused(s.url+path, http.Header{":protocol": {"connect-udp"}}); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestTheEndOfARequestMayComeBehindItsHeader(t *testing.T) {
	t.Parallel()
	s, _, _ := h2site(t, deliver.Config{})
	for method, status := range map[string]int{http.MethodGet: http.StatusOK, http.MethodDelete: http.StatusNoContent} {
		s.publish("t", "first")
		body, late := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/topics/t", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/json")
		resp, err := s.h2.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		_ = late.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}
