package deliver_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// bubble is a handler behind a network in memory.
type bubble struct {
	t       *testing.T
	handler *deliver.Handler
	topics  *topic.Store
	server  *memnet.Server
	ended   chan deliver.Ended
}

// inBubble runs a test with the clock of a bubble.
func inBubble(t *testing.T, cfg deliver.Config, test func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, ended: make(chan deliver.Ended, 100)}
		if b.topics = cfg.Topics; b.topics == nil {
			b.topics = topic.NewStore(topic.StoreConfig{})
		}
		cfg.Topics, cfg.AllowPublish = b.topics, true
		cfg.Observer.Closed = func(e deliver.Ended) { b.ended <- e }
		b.handler = deliver.New(cfg)
		b.server = memnet.Serve(t, &http.Server{Handler: b.handler, ReadHeaderTimeout: time.Minute}, &http.Transport{DisableKeepAlives: true})
		test(t, b)
	})
}

func (b *bubble) put(name, data string) fairlead.Cursor {
	res, err := b.topics.Append(b.t.Context(), name, topic.Batch{Events: []fairlead.Event{{Data: []byte(data)}}})
	if err != nil {
		b.t.Fatal(err)
	}
	return res.Last
}

func (b *bubble) get(path string, headers ...string) *http.Response {
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://h"+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := b.server.Client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp
}

func (b *bubble) socket(path string, protocols ...string) *sock {
	conn, _, err := websocket.Dial(b.t.Context(), "ws://h"+path, websocket.DialConfig{
		Config: websocket.Config{Subprotocols: protocols}, NetDial: b.server.Dial,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return &sock{b.t, conn}
}

func TestAnIdleStreamBeatsAndABusyOneDoesNot(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		b.put("t", "0")
		resp := b.get("/topics/t?after=earliest")
		defer resp.Body.Close()
		br := bufio.NewReader(resp.Body)
		line := func() string {
			s, err := br.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(s)
		}
		for line() != "data: 0" {
		}
		line()
		began := time.Now()
		if got := line(); got != ":" {
			t.Errorf("the sign of life is %q", got)
		}
		if took := time.Since(began); took < 13500*time.Millisecond || took > 16500*time.Millisecond {
			t.Errorf("it came after %s", took)
		}
		line()
		time.Sleep(10 * time.Second)
		b.put("t", "1")
		for line() != "data: 1" {
		}
		line()
		began = time.Now()
		if got := line(); got != ":" {
			t.Errorf("the sign of life is %q", got)
		}
		if took := time.Since(began); took < 13500*time.Millisecond {
			t.Errorf("it came %s after an event", took)
		}
	})
}

func TestAHeartbeatCanBeAnEventThatLeavesTheCursorAlone(t *testing.T) {
	inBubble(t, deliver.Config{Heartbeat: time.Second}, func(t *testing.T, b *bubble) {
		at := b.put("t", "0")
		resp := b.get("/topics/t?heartbeat=event")
		defer resp.Body.Close()
		d := sse.NewDecoder(resp.Body)
		e, err := d.Next()
		if err != nil || e.Type != fairlead.TypePing || e.HasID || d.LastEventID() != string(at) {
			t.Errorf("got %+v %v at %q, want a ping at %q", e, err, d.LastEventID(), at)
		}
	})
}

func TestASocketThatAnswersLivesAndOneThatDoesNotIsHalfOpen(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		b.put("t", "0")
		alive, silent := b.socket("/topics/t"), b.socket("/topics/t")
		go func() {
			for {
				if _, _, err := alive.Read(); err != nil {
					return
				}
			}
		}()
		// It takes what arrives and says nothing.
		began := time.Now()
		ended := <-b.ended
		if ended.Reason != fairlead.DeadlineExceeded && ended.Reason != fairlead.TooSlow {
			t.Errorf("it ended with %+v", ended)
		}
		if took := time.Since(began); took < 30*time.Second || took > time.Minute {
			t.Errorf("it took %s", took)
		}
		silent.CloseNow()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := b.handler.Sessions(0); len(got) != 1 {
			t.Errorf("%d sessions are left", len(got))
		}
		alive.Close(1000, "")
		if ended := <-b.ended; ended.Reason != fairlead.Cancelled {
			t.Errorf("the living one ended with %+v", ended)
		}
	})
}

func TestALongPollEndsEmptyWhenItsTimeIsUp(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		at := b.put("t", "0")
		began := time.Now()
		resp := b.get("/topics/t?after="+string(at), "Accept: application/json", "Prefer: wait=600, respond-async")
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		p := decode[wire.Page](t, string(text))
		if time.Since(began) != 50*time.Second || p.Next != at || len(p.Events) != 0 || resp.Header.Get("Preference-Applied") != "wait=50" {
			t.Errorf("after %s came %s, %q", time.Since(began), text, resp.Header)
		}
	})
}

func TestADrainTellsEachSessionWithinTheWindow(t *testing.T) {
	const window = 5 * time.Second
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		at := b.put("t", "0")
		var mu sync.Mutex
		var told []time.Duration
		began := time.Now()
		note := func(retry time.Duration, cursor fairlead.Cursor) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, time.Since(began))
			if cursor != at || retry < time.Second || retry > time.Second+window {
				t.Errorf("the advice is to come back after %s from %q", retry, cursor)
			}
		}
		var readers sync.WaitGroup
		for range 20 {
			readers.Go(func() {
				resp := b.get("/topics/t")
				defer resp.Body.Close()
				d := sse.NewDecoder(resp.Body)
				e, err := d.Next()
				if err != nil || e.Type != fairlead.TypeDraining {
					t.Errorf("got %+v, %v", e, err)
				}
				note(e.Retry, fairlead.Cursor(e.ID))
				if _, err := d.Next(); err != io.EOF {
					t.Errorf("after the advice: %v", err)
				}
			})
			readers.Go(func() {
				s := b.socket("/topics", "fairlead.v1.json")
				s.send(`{"id":1,"subscribe":"t"}`)
				s.next()
				m := s.next()
				if m.Draining == nil {
					t.Errorf("got %s", m.text)
					return
				}
				note(time.Duration(m.Draining.RetryAfterMS)*time.Millisecond, m.Draining.Cursors["t"])
				if code, _ := s.closed(); code != websocket.ServiceRestart {
					t.Errorf("the close code is %d", code)
				}
			})
			readers.Go(func() {
				resp := b.get("/topics/t?wait=50&after="+string(at), "Accept: application/json")
				defer resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("a long poll got %s", resp.Status)
				}
			})
		}
		synctest.Wait()
		began = time.Now()
		if n := len(b.handler.Sessions(0)); n != 60 {
			t.Fatalf("there are %d sessions", n)
		}
		if err := b.handler.Drain(t.Context(), window); err != nil {
			t.Error(err)
		}
		readers.Wait()
		if took := time.Since(began); took > window {
			t.Errorf("it took %s", took)
		}
		early := 0
		for _, at := range told {
			if at < window/2 {
				early++
			}
		}
		if early < 5 || early > 35 {
			t.Errorf("%d of 40 were told in the first half of the window", early)
		}

		// Who comes now is told at once, and publishing works.
		resp := b.get("/topics/t")
		defer resp.Body.Close()
		if e, err := sse.NewDecoder(resp.Body).Next(); err != nil || e.Type != fairlead.TypeDraining || e.ID != string(at) {
			t.Errorf("a late stream got %+v, %v", e, err)
		}
		resp = b.get("/topics/t?wait=9&after="+string(at), "Accept: application/json")
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a late long poll got %s", resp.Status)
		}
		post, err := b.server.Client.Post("http://h/topics/t", "text/plain", strings.NewReader("1"))
		if err != nil || post.StatusCode != 201 {
			t.Errorf("a publish got %v %v", post, err)
		}
		post.Body.Close()
	})
}

func TestADrainThatIsCutShortResetsTheRest(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		b.put("t", "0")
		resp := b.get("/topics/t")
		defer resp.Body.Close()
		socket := b.socket("/topics/t")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := b.handler.Drain(ctx, time.Hour); err == nil {
			t.Error("it says that all have gone")
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the stream ended well")
		}
		if code, _ := socket.closed(); code != websocket.AbnormalClosure {
			t.Errorf("the close code is %d", code)
		}
		for range 2 {
			if e := <-b.ended; e.Reason != fairlead.Draining {
				t.Errorf("it ended with %+v", e)
			}
		}
	})
}
