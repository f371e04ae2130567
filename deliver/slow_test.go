package deliver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestAReaderThatFallsFurtherBehindForEverIsSentAway(t *testing.T) {
	t.Parallel()
	ended := make(chan deliver.Ended, 10)
	cfg := deliver.Config{
		Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true, Engine: fanout.New(fanout.Config{}), SlowAfter: time.Minute,
		Observer: deliver.Observer{Closed: func(e deliver.Ended) { ended <- e }},
	}
	h := deliver.New(cfg)
	server := unstarted(cfg)
	server.Config.Handler = h
	t.Cleanup(func() { _ = cfg.Engine.Close() })
	s := &site{t: t, url: started(t, server).URL, topics: cfg.Topics}
	s.publish("t", "first")
	quick, slow := s.events("/topics/t"), s.events("/topics/t")
	fill := func() {
		for range 10 {
			if _, err := cfg.Topics.Append(t.Context(), "t", topic.Batch{Events: []fairlead.Event{{Data: bytes.Repeat([]byte("x"), 1<<19)}}}); err != nil {
				t.Fatal(err)
			}
			quick.next()
		}
	}
	look := func(at time.Time) int {
		for waits := false; !waits; { // until the slow one's connection is full
			for _, i := range h.Sessions(0) {
				waits = waits || i.Buffered > 0
			}
		}
		return h.FindSlow(at, nil)
	}
	fill()
	began := time.Now()
	if n := look(began) + look(began.Add(59*time.Second)); n != 0 {
		t.Errorf("%d were sent away before their time", n)
	}
	if n := look(began.Add(61 * time.Second)); n != 0 {
		t.Errorf("%d were sent away that lag as before", n)
	}
	fill()
	if n := look(began.Add(2 * time.Minute)); n != 0 {
		t.Errorf("%d were sent away within the next minute", n)
	}
	if n := look(began.Add(123 * time.Second)); n != 1 {
		t.Fatalf("%d were sent away", n)
	}
	h.FindSlow(began.Add(133*time.Second), nil) // and it has not read what it is told
	if e := <-ended; e.Reason != fairlead.TooSlow {
		t.Errorf("it ended as %q", e.Reason)
	}
	if _, err := io.Copy(io.Discard, slow.resp.Body); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("its stream ended well: %v", err)
	}
	s.publish("t", "last")
	quick.expect("last")
}

// slowly is a reader that takes what one event needs every ten seconds, while as many
// are published as say; it returns how many were sent away, at once or in two minutes.
func slowly(t *testing.T, b *bubble, r io.Reader, published int, meant func(string) bool) (sent int) {
	t.Helper()
	for range 12 {
		for range published {
			b.put("t", slowEvent)
		}
		if _, err := io.CopyN(io.Discard, r, int64(len(slowEvent))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if sent = b.handler.FindSlow(time.Now(), meant); sent > 0 {
			return sent
		}
	}
	return 0
}

var slowEvent = strings.Repeat("x", 100_000)

func TestWhoIsTooSlowIsToldByWhetherTheLagGrows(t *testing.T) {
	t.Parallel()
	not := func(string) bool { return false }
	for name, c := range map[string]struct {
		backlog, published int
		meant              func(string) bool
		after              time.Duration
		sent               int
	}{
		"more comes than it takes":                {backlog: 10, published: 2, sent: 1},
		"as much comes":                           {backlog: 10, published: 1},
		"it catches up":                           {backlog: 50},
		"a policy bounds how far it falls behind": {backlog: 10, published: 2, meant: not},
		"the rule is off":                         {backlog: 10, published: 2, after: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, deliver.Config{WriteTimeout: time.Hour, SlowAfter: c.after}, func(t *testing.T, b *bubble) {
				for range c.backlog {
					b.put("t", slowEvent)
				}
				resp := b.get("/topics/t?after=earliest")
				defer resp.Body.Close()
				if n := slowly(t, b, resp.Body, c.published, c.meant); n != c.sent {
					t.Errorf("%d were sent away, want %d", n, c.sent)
				}
			})
		})
	}
}

func TestWhoIsSentAwayAsTooSlowIsToldWhereItStands(t *testing.T) {
	t.Parallel()
	inBubble(t, deliver.Config{WriteTimeout: time.Hour, Heartbeat: time.Hour}, func(t *testing.T, b *bubble) {
		for range 10 {
			b.put("t", slowEvent)
		}
		resp, socket := b.get("/topics/t?after=earliest"), b.socket("/topics/t?after=earliest")
		defer resp.Body.Close()
		defer socket.CloseNow()
		for range 6 {
			b.put("t", slowEvent)
			synctest.Wait()
			if n := b.handler.FindSlow(time.Now(), nil); n != 0 {
				t.Fatalf("%d were sent away within the minute", n)
			}
			time.Sleep(10 * time.Second)
		}
		if n := b.handler.FindSlow(time.Now(), nil); n != 2 {
			t.Fatalf("%d were sent away", n)
		}
		text, err := io.ReadAll(resp.Body)
		place := regexp.MustCompile(`id: (\S+)\n`).FindAllStringSubmatch(string(text), -1)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasSuffix(string(text), "\n\nid: "+place[len(place)-1][1]+"\n\n") {
			t.Errorf("the stream's end: %v, %q", err, text[max(0, len(text)-100):])
		}
		last := fairlead.Cursor("")
		for err = nil; err == nil; {
			var m []byte
			if _, m, err = socket.Read(); err == nil {
				last = envelopeOf(t, m).Cursor
			}
		}
		if closed, ok := errors.AsType[*websocket.CloseError](err); !ok || closed.Code != 4408 || last == "" || closed.Reason != string(last) {
			t.Errorf("the socket's end after %q: %v", last, err)
		}
		for range 2 {
			if e := <-b.ended; e.Reason != fairlead.TooSlow {
				t.Errorf("%s ended as %q", e.Transport, e.Reason)
			}
		}
	})
}

func envelopeOf(t *testing.T, m []byte) (v wire.Envelope) {
	t.Helper()
	if err := json.Unmarshal(m, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSessionsAreListedByTheirLag(t *testing.T) {
	t.Parallel()
	inBubble(t, deliver.Config{WriteTimeout: time.Hour}, func(t *testing.T, b *bubble) {
		for i, behind := range []int{2, 7, 4} {
			name := fmt.Sprint("t", i)
			b.put(name, "0")
			resp := b.get("/topics/" + name)
			defer resp.Body.Close()
			synctest.Wait()
			for range behind { // of which the client takes nothing
				b.put(name, slowEvent)
				synctest.Wait()
			}
		}
		lags := func(all []deliver.SessionInfo) (lags []uint64) {
			for _, i := range all {
				lags = append(lags, i.Lag)
			}
			return lags
		}
		if got := lags(b.handler.Sessions(0)); !slices.Equal(got, []uint64{7, 4, 2}) {
			t.Errorf("all: %v", got)
		}
		if got := lags(b.handler.Sessions(2)); !slices.Equal(got, []uint64{7, 4}) {
			t.Errorf("two: %v", got)
		}
		if got := lags(slices.Collect(b.handler.All())); len(got) != 3 {
			t.Errorf("not in order: %v", got)
		}
	})
}
