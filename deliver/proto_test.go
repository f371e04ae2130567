package deliver_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/websocket"
)

// speaker is a client of fairlead.v1.proto.
type speaker struct{ *sock }

func (s *site) speaker() speaker { return speaker{s.socket("/topics", "fairlead.v1.proto")} }

func (s speaker) say(m *fairleadv1.SessionRequest) {
	s.t.Helper()
	p, err := proto.Marshal(m)
	if err == nil {
		err = s.Write(websocket.Binary, p)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s speaker) hear() *fairleadv1.SessionResponse {
	s.t.Helper()
	kind, p, err := s.Read()
	m := new(fairleadv1.SessionResponse)
	if err == nil {
		err = proto.Unmarshal(p, m)
	}
	if err != nil || kind != websocket.Binary {
		s.t.Fatalf("read: %v %v", kind, err)
	}
	return m
}

// refused wants an error of the code.
func (s speaker) refused(id uint64, code fairlead.Code) {
	s.t.Helper()
	if m := s.hear(); m.GetError().GetCode() != string(code) || m.GetId() != id || m.GetError().GetMessage() == "" {
		s.t.Errorf("it is answered with %v, want %s", m, code)
	}
}

func (s speaker) granted(id uint64) (at fairlead.Cursor) {
	s.t.Helper()
	m := s.hear()
	if m.GetOk() == nil || m.GetId() != id {
		s.t.Errorf("it is answered with %v", m)
	}
	return fairlead.Cursor(m.GetOk().GetCursor())
}

func toSubscribe(id uint64, name, after string) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Subscribe_{
		Subscribe: &fairleadv1.SessionRequest_Subscribe{Topic: name, After: after},
	}}
}

func toPublish(id uint64, p *fairleadv1.PublishRequest) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Publish{Publish: p}}
}

func toAcknowledge(id uint64, name string, at fairlead.Cursor) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Acknowledge_{
		Acknowledge: &fairleadv1.SessionRequest_Acknowledge{Topic: name, Cursor: string(at)},
	}}
}

func toSetWindow(id uint64, n uint32) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Window_{Window: &fairleadv1.SessionRequest_Window{Events: n}}}
}

func TestTheBinarySubprotocolSaysWhatTheTextOneSays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		first := s.publish("a", "a0")
		c := s.speaker()
		c.say(toSubscribe(1, "a", "earliest"))
		if at := c.granted(1); at >= first {
			t.Errorf("it begins at %s, not before %s", at, first)
		}
		if e := c.hear().GetEvent(); string(e.GetData()) != "a0" || e.GetCursor() != string(first) || e.GetTopic() != "a" || !e.GetTime().IsValid() {
			t.Errorf("got %v", e)
		}
		c.say(toPublish(2, &fairleadv1.PublishRequest{Topic: "b", Events: []*fairleadv1.Event{
			{Data: []byte{0xff, 0}, Type: "t", Key: "k", ContentType: "image/png", Attributes: map[string]string{"x": "y"}, Critical: true}, {Data: []byte("b1")},
		}, IdempotencyKey: "once"}))
		stored := c.granted(2)
		c.say(toSubscribe(3, "b", "earliest"))
		c.granted(3)
		if e := c.hear().GetEvent(); string(e.GetData()) != "\xff\x00" || e.GetType() != "t" || e.GetKey() != "k" || e.GetContentType() != "image/png" ||
			e.GetAttributes()["x"] != "y" || !e.GetCritical() {
			t.Errorf("got %v", e)
		}
		if e := c.hear().GetEvent(); e.GetCursor() != string(stored) {
			t.Errorf("got %v, want it at %s", e, stored)
		}
		c.say(toPublish(4, &fairleadv1.PublishRequest{Topic: "b", Events: []*fairleadv1.Event{{Data: []byte("other")}}, IdempotencyKey: "once"}))
		c.refused(4, fairlead.KeyReused)
		c.say(toPublish(5, &fairleadv1.PublishRequest{Topic: "b"}))
		c.refused(5, fairlead.InvalidArgument)
		c.say(toPublish(6, &fairleadv1.PublishRequest{Topic: "b", Events: []*fairleadv1.Event{{Topic: "a"}}}))
		c.refused(6, fairlead.InvalidArgument)
		c.say(toSubscribe(7, "none", ""))
		c.refused(7, fairlead.NotFound)
		c.say(&fairleadv1.SessionRequest{Id: 8})
		c.refused(8, fairlead.InvalidArgument)
		c.send("text")
		c.refused(0, fairlead.InvalidArgument)
		c.say(toPublish(0, &fairleadv1.PublishRequest{Topic: "a", Close: true}))
		ok, end := c.hear(), c.hear()
		if ok.GetOk() == nil {
			ok, end = end, ok
		}
		if ok.GetOk() == nil || end.GetEnd().GetTopic() != "a" || end.GetEnd().GetCursor() == "" {
			t.Errorf("got %v and %v", ok, end)
		}
		s.do("DELETE", "/topics/b", "")
		if f := c.hear().GetFault(); f.GetTopic() != "b" || f.GetCode() != string(fairlead.NotFound) || f.GetMessage() == "" {
			t.Errorf("got %v", f)
		}
	})
}

func TestBothSubprotocolsHoldBackWhatIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		for i := range 5 {
			s.publish("a", fmt.Sprint("a", i))
		}
		c := s.speaker()
		c.say(toAcknowledge(1, "a", "x"))
		c.refused(1, fairlead.InvalidArgument)
		c.say(toSetWindow(2, 20_000))
		c.refused(2, fairlead.InvalidArgument)
		c.say(toSetWindow(3, 2))
		c.granted(3)
		c.say(toSubscribe(4, "a", "earliest"))
		c.granted(4)
		at := ""
		for _, want := range []string{"a0", "a1"} {
			e := c.hear().GetEvent()
			if at = e.GetCursor(); string(e.GetData()) != want {
				t.Errorf("got %v, want %s", e, want)
			}
		}
		c.say(toSetWindow(5, 2)) // nothing comes before its answer
		c.granted(5)
		c.say(toAcknowledge(6, "a", fairlead.Cursor(at)))
		c.granted(6)
		for _, want := range []string{"a2", "a3"} {
			if e := c.hear().GetEvent(); string(e.GetData()) != want {
				t.Errorf("got %v, want %s", e, want)
			}
		}

		text := s.socket("/topics", "fairlead.v1.json")
		text.send(`{"window":1}`)
		text.next()
		text.send(`{"subscribe":"a","after":"earliest"}`)
		text.next()
		one := text.next()
		text.send(`{"ping":true}`)
		if m := text.next(); one.data() != "a0" || m.OK == nil {
			t.Errorf("got %s and %s", one.text, m.text)
		}
		text.send(`{"acknowledge":"a","cursor":%q}`, one.Message.Event.Cursor)
		text.next()
		if m := text.next(); m.data() != "a1" {
			t.Errorf("got %s", m.text)
		}
		text.send(`{"id":1,"window":-1}`)
		if m := text.next(); m.Error == nil || !strings.Contains(m.text, "10000") {
			t.Errorf("got %s", m.text)
		}
	})
}
