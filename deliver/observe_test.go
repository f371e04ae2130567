package deliver_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// seen is an Observer that writes down what it is told.
type seen struct {
	mu   sync.Mutex
	what []string
}

func (s *seen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.what = append(s.what, fmt.Sprintf(format, args...))
}

// take returns what was noted since it was called before.
func (s *seen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.what, "; ")
	s.what = nil
	return all
}

func (s *seen) observer() deliver.Observer {
	return deliver.Observer{
		Began: func(transport, how string) { s.note("%s begins: %s", transport, how) },
		Delivered: func(d deliver.Delivery) {
			s.note("%s: %d, delay %v, age %v, first %v, gap %v", d.Transport, d.Events, d.Delay, d.Age, d.First, d.Gap)
			if d.Bytes <= 0 {
				s.note("of no bytes")
			}
		},
		Message: func(_, kind string, sent bool, size int) {
			if size > 0 || kind == deliver.KindPong {
				s.note("%s %v", kind, sent)
			}
		},
		Established: func(transport string, took time.Duration) { s.note("%s established after %v", transport, took) },
		Missed: func(m deliver.Missed) {
			s.note("%s missed %d of %s, gap %v of %d", m.Transport, m.Skipped, m.Topic, m.Gap, m.Lost)
		},
		Typed: func(transport, typ string, events, bytes int) {
			if typ != "" {
				s.note("%s: %d %s of %d bytes", transport, events, typ, bytes)
			}
		},
		Refused:  func(_, kind string, code fairlead.Code) { s.note("%s refused: %s", kind, code) },
		Answered: func(_, kind string, took time.Duration) { s.note("%s took %v", kind, took) },
		Echoed:   func(took time.Duration) { s.note("echo after %v", took) },
		Failed:   func(code int) { s.note("failed %d", code) },
	}
}

func TestDeliveriesAreToldWithTheirDelays(t *testing.T) {
	o := &seen{}
	inBubble(t, deliver.Config{Observer: o.observer()}, func(t *testing.T, b *bubble) {
		b.put("a", "old")
		time.Sleep(time.Second) // it is not late for who comes later
		resp := b.get("/topics/a?after=earliest", "Accept: text/event-stream")
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(io.Discard, resp.Body) })
		defer reading.Wait()
		defer resp.Body.Close()
		synctest.Wait()
		if got := o.take(); got != "sse begins: not; sse established after 0s; control true; sse: 1, delay -1ns, age -1ns, first 0s, gap -1ns" {
			t.Error(got)
		}
		time.Sleep(3 * time.Second)
		e := fairlead.Event{Data: []byte("new"), Time: time.Now().Add(-time.Minute)}
		if _, err := b.topics.Append(t.Context(), "a", topic.Batch{Events: []fairlead.Event{e}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := o.take(); got != "sse: 1, delay 0s, age 1m0s, first -1ns, gap 3s" {
			t.Error(got)
		}
		time.Sleep(time.Second)
		b.get("/topics/a?after=earliest", "Accept: application/json").Body.Close()
		if got := o.take(); got != "poll begins: not; poll: 2, delay -1ns, age -1ns, first 0s, gap -1ns" {
			t.Error(got)
		}
	})
}

func TestWhereReadersResumeIsTold(t *testing.T) {
	t.Parallel()
	topics := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Events: 2} }})
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		o := &seen{}
		s := serve(deliver.Config{Topics: topics, Observer: o.observer()})
		name := strings.ReplaceAll(t.Name(), "/", "-")
		first := s.publish(name, "1")
		last := s.publish(name, "2")
		o.take()
		for after, want := range map[fairlead.Cursor]string{
			last: "poll begins: cursor", "latest": "poll begins: not", first[:1] + "0" + first[2:]: "poll begins: cursor; poll begins: unknown; poll missed 0 of " + name + ", gap true of 0",
		} {
			s.page("/topics/" + name + "?after=" + string(after))
			if got := o.take(); !strings.HasPrefix(got, want) {
				t.Errorf("after %s: %s", after, got)
			}
		}
		s.publish(name, "3")
		s.publish(name, "4")
		o.take()
		s.page("/topics/" + name + "?after=" + string(first))
		if got := o.take(); !strings.HasPrefix(got, "poll begins: cursor; poll begins: gap; poll missed 0 of "+name+", gap true of 1; poll: 2") {
			t.Error(got)
		}
	})
}

func TestMessagesAndPingsOfASocketAreTold(t *testing.T) {
	o := &seen{}
	inBubble(t, deliver.Config{Observer: o.observer(), Heartbeat: time.Second}, func(t *testing.T, b *bubble) {
		b.put("a", "old")
		c := b.socket("/topics", "fairlead.v1.json")
		var reading sync.WaitGroup
		reading.Go(func() {
			for { // which answers pings
				if _, _, err := c.Read(); err != nil {
					return
				}
			}
		})
		defer reading.Wait()
		defer c.CloseNow()
		for _, text := range []string{`{"id":1,"subscribe":"a"}`, `{"id":2,"publish":"a","data":1}`, `{"id":3,"ping":true}`, `{`, `{"id":4,"unsubscribe":"b"}`} {
			c.send("%s", text)
			synctest.Wait()
		}
		got := strings.Split(o.take(), "; ")
		for _, want := range []string{
			"subscribe false", "websocket begins: not", "subscribe took 0s", "publish false", "publish took 0s", "ping false", "malformed false", "answer true",
			"websocket: 1, delay 0s, age -1ns, first 0s, gap -1ns", "malformed refused: invalid_argument", "unsubscribe refused: not_found",
			"websocket established after 0s",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("%q is not among %q", want, got)
			}
		}
		time.Sleep(1500 * time.Millisecond)
		if got := o.take(); !strings.Contains(got, "ping true") || !strings.Contains(got, "pong false; echo after ") {
			t.Error(got)
		}
	})
}
