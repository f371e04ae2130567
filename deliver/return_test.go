package deliver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestATopicThatWasRemovedKeepsTheOthersFromNoReader(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("a", "a0")
		s.publish("b", "b0")
		const path = "/topics?topic=a&topic=b"
		stream := s.events(path + "&after=earliest")
		at := stream.expect("a0", "b0")
		s.do("DELETE", "/topics/a", "")
		if e := stream.next(); e.Type != fairlead.TypeFault {
			t.Errorf("got %+v", e)
		}
		told := stream.LastEventID()
		stream.close()
		s.publish("b", "b1")
		for _, id := range []string{string(at), told} {
			s.events(path, "Last-Event-ID: "+id).expect("b1")
		}
		if a := s.do("GET", path+"&after=earliest", ""); a.status != 404 {
			t.Errorf("a new reader of both gets %d %s", a.status, a.body)
		}
		s.do("DELETE", "/topics/b", "")
		if a := s.do("GET", path, "", "Last-Event-ID: "+told); a.status != 204 {
			t.Errorf("when all are gone: %d %s", a.status, a.body)
		}
		if a := s.do("GET", "/topics/b", "", "Last-Event-ID: "+string(fairlead.NewCursor(1, 1))); a.status != 404 {
			t.Errorf("one alone: %d %s", a.status, a.body)
		}
	})
}

// spy looks at a topic when its answer is written.
type spy struct {
	*httptest.ResponseRecorder

	log     *topic.Log
	readers int
}

func (s *spy) Write(p []byte) (int, error) {
	s.readers = s.log.Stats().Readers
	return s.ResponseRecorder.Write(p)
}

func waitTopic(t *testing.T) (*topic.Store, *topic.Log) {
	t.Helper()
	store := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Deliver: topic.Wait, Events: 1} }})
	if _, err := store.Append(t.Context(), "t", topic.Batch{Events: []fairlead.Event{{Data: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	l, err := store.Get("t")
	if err != nil {
		t.Fatal(err)
	}
	return store, l
}

func TestWhoHasItsPageIsNoReaderAnyMore(t *testing.T) {
	t.Parallel()
	store, l := waitTopic(t)
	w := &spy{httptest.NewRecorder(), l, -1}
	r := httptest.NewRequest(http.MethodGet, "/topics/t", http.NoBody)
	r.Header.Set("Accept", "application/json")
	deliver.New(deliver.Config{Topics: store}).ServeHTTP(w, r)
	if w.Code != 200 || w.readers != 0 {
		t.Errorf("there were %d readers at %d %s", w.readers, w.Code, w.Body)
	}
}

func TestAReaderThatComesBackOutlastsItsPredecessor(t *testing.T) {
	inBubble(t, deliver.Config{}, func(t *testing.T, b *bubble) {
		b.topics.Reload(func(string) topic.Policy { return topic.Policy{Deliver: topic.Wait} })
		b.put("t", "0")
		l, err := b.topics.Get("t")
		if err != nil {
			t.Fatal(err)
		}
		hold := func(d time.Duration) {
			predecessor := topic.NewReader()
			if err := predecessor.Add(l, fairlead.Earliest); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(d, predecessor.Close)
		}
		hold(500 * time.Millisecond)
		resp := b.get("/topics/t?after=earliest", "Accept: application/json")
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("a page is %s", resp.Status)
		}
		many := b.socket("/topics", "fairlead.v1.json")
		hold(500 * time.Millisecond)
		many.send(`{"id":1,"subscribe":"t"}`)
		if m := many.next(); m.OK == nil {
			t.Errorf("got %s", m.text)
		}
		many.send(`{"id":2,"unsubscribe":"t"}`)
		many.next()
		hold(time.Hour)
		many.send(`{"id":3,"subscribe":"t"}`)
		if m := many.next(); m.Error == nil || m.Error.Code != fairlead.Conflict {
			t.Errorf("got %s", m.text)
		}
		began := time.Now()
		resp = b.get("/topics/t")
		resp.Body.Close()
		if took := time.Since(began); resp.StatusCode != 409 || took > 1100*time.Millisecond {
			t.Errorf("beside another reader: %s after %s", resp.Status, took)
		}
		many.CloseNow()
	})
}

func TestAGapThatFailsLeavesThePageItsLength(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.do("POST", "/topics/t", strings.Repeat("1\n", 200), "Content-Type: application/x-ndjson")
		for limit, want := range map[string]int{"150": 150, "7": 7, "99999999999999999999": 200} {
			if n := len(s.page("/topics/t?gap=fail&limit=" + limit).Events); n != want {
				t.Errorf("a page of %s has %d events", limit, n)
			}
		}
	})
}

func TestASocketPastTheEndIsToldWhichItWas(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("t", "x", "Fairlead-Close: ?1")
		end := s.page("/topics/t").Next
		c := s.socket("/topics/t?after=" + string(end))
		if m := c.next(); m.End == nil || m.End.Cursor != end {
			t.Errorf("got %s", m.text)
		}
		if code, _ := c.closed(); code != 1000 {
			t.Errorf("it closed with %d", code)
		}
		if p := s.page("/topics/t?after=" + placeOf("t", string(end)) + "~" + placeOf("u", string(end))); p.End == nil || p.Next != end {
			t.Errorf("with the id of a stream of several: %+v", p)
		}
		if _, err := s.topics.Append(t.Context(), "broken", topic.Batch{Events: []fairlead.Event{{}}}); err != nil {
			t.Fatal(err)
		}
		l, err := s.topics.Get("broken")
		if err != nil {
			t.Fatal(err)
		}
		l.Fault(fairlead.Errorf(fairlead.Cancelled, "enough"))
		c = s.socket(fmt.Sprint("/topics/broken?after=", s.page("/topics/broken").Next))
		if m := c.next(); m.Fault == nil || m.Fault.Message != "enough" {
			t.Errorf("got %s", m.text)
		}
		if code, _ := c.closed(); code != 4500 {
			t.Errorf("it closed with %d", code)
		}
	})
}
