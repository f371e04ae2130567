package deliver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
)

func TestManyTopicsComeAndGoOnOneSocket(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{MaxTopics: 2})
		first := s.publish("a", "a0")
		s.publish("b", "b0")
		s.publish("c", "c0")
		c := s.socket("/topics", "fairlead.v1.json")
		ask := func(want, format string, args ...any) {
			t.Helper()
			c.send(format, args...)
			if m := c.next(); m.text != want && (want == "" || m.Error == nil || string(m.Error.Code) != want) {
				t.Errorf("%s is answered with %s, want %s", fmt.Sprintf(format, args...), m.text, want)
			}
		}
		ask(`{"id":"one","ok":{"cursor":"`+string(first)+`"}}`, `{"id":"one","subscribe":"a"}`)
		ask(`{"ok":{}}`, `{"ping":true}`)
		c.send(`{"id":2,"subscribe":"b","after":"earliest"}`)
		if m := c.next(); m.OK == nil || m.Error != nil {
			t.Errorf("got %s", m.text)
		}
		if m := c.next(); m.data() != "b0" {
			t.Errorf("got %s", m.text)
		}
		ask("too_large", `{"id":3,"subscribe":"c"}`)
		ask("conflict", `{"id":4,"subscribe":"b"}`)
		ask(`{"id":5,"ok":{}}`, `{"id":5,"unsubscribe":"b"}`)
		ask("not_found", `{"id":6,"unsubscribe":"b"}`)
		s.publish("b", "b1")
		c.send(`{"id":7,"publish":"a","data":{"n":1},"key":"k","critical":true}`)
		ok, event := c.next(), c.next()
		if event.OK != nil {
			ok, event = event, ok
		}
		e := event.Message.Event
		if ok.OK == nil || e == nil || string(e.Data) != `{"n":1}` || e.Key != "k" || !strings.Contains(string(ok.OK), string(e.Cursor)) {
			t.Errorf("the publish is answered with %s and read as %s", ok.text, event.text)
		}
		for _, bad := range []string{
			`[]`, `{"id":1}`, `{"ping":true,"subscribe":"a"}`, `{"id":{},"ping":true}`, `{"id":1,"publish":"a"}`,
			`{"publish":"a","data":1,"data_base64":"AA=="}`, `{"publish":"a","data":1,"attributes":{"A B":"c"}}`,
			`{"ping":true} {}`, `{"id":1,"ping":true}]`, `{"id":1,"ping":true}}`, `null`, `{"id":"` + strings.Repeat("i", 300) + `","ping":true}`, `{"request":1}`,
		} {
			ask("invalid_argument", "%s", bad)
		}
		ask(`{"id":8,"ok":{}}`, `{"id":8,"ping":true}`)
	})
}

func TestASubscriptionThatEndsLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("a", "a0")
		s.publish("b", "b0")
		c := s.socket("/topics", "fairlead.v1.json")
		for _, name := range []string{"a", "b"} {
			c.send(`{"id":1,"subscribe":%q}`, name)
			c.next()
		}
		s.do("DELETE", "/topics/a", "")
		if m := c.next(); m.Fault == nil || m.Fault.Topic != "a" || m.Fault.Code != fairlead.NotFound {
			t.Errorf("got %s", m.text)
		}
		s.publish("a", "new")
		c.send(`{"id":2,"subscribe":"a","after":"earliest"}`)
		c.next()
		if m := c.next(); m.data() != "new" {
			t.Errorf("got %s", m.text)
		}
		s.publish("b", "b1")
		if m := c.next(); m.data() != "b1" {
			t.Errorf("got %s", m.text)
		}
	})
}

func TestAnApplicationAnswersItsOwnMessages(t *testing.T) {
	t.Parallel()
	panicked := make(chan any, 1)
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{
			OnMessage: func(_ context.Context, m deliver.Message) (deliver.Reply, error) {
				switch string(m.Request) {
				case `"echo"`:
					return deliver.Reply{OK: m.Request}, nil
				case `"nothing"`:
					return deliver.Reply{}, nil
				case `"refuse"`:
					return deliver.Reply{}, fairlead.Errorf(fairlead.RateLimited, "slower")
				case `"fail"`:
					return deliver.Reply{}, errors.New("a secret of the server")
				case `"garbage"`:
					return deliver.Reply{OK: json.RawMessage("{")}, nil
				case `"bytes"`:
					return deliver.Reply{OK: json.RawMessage("\"\xff\"")}, nil
				}
				panic("oh no")
			},
			Observer: deliver.Observer{Panicked: func(v any, _ []byte) { panicked <- v }},
		})
		c := s.socket("/topics", "fairlead.v1.json")
		for _, x := range [][2]string{
			{"echo", `{"id":1,"ok":"echo"}`}, {"nothing", `{"id":1,"ok":{}}`}, {"refuse", `"rate_limited","message":"slower"`},
			{"fail", `"internal"`}, {"garbage", `"internal"`}, {"bytes", `"internal"`}, {"panic", `"internal"`},
		} {
			c.send(`{"id":1,"request":%q}`, x[0])
			if m := c.next(); !strings.Contains(m.text, x[1]) || strings.Contains(m.text, "secret") {
				t.Errorf("%s is answered with %s", x[0], m.text)
			}
		}
		if v := <-panicked; v != "oh no" {
			t.Errorf("the observer saw %v", v)
		}
	})
}

func TestWhatAClientSaysBeforeItClosesIsDone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		const times = 20
		for i := range times {
			conn := dialRaw(s)
			all := []byte(handshake("/topics", "Sec-WebSocket-Protocol: fairlead.v1.json"))
			for _, message := range []string{`{"publish":"a","data":1}`, fmt.Sprintf(`{"publish":"a","data":%d}`, i)} {
				all = append(append(all, 0x81, 0x80|byte(len(message)), 0, 0, 0, 0), message...)
			}
			all = append(all, 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8)
			if _, err := conn.Write(all); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.HasSuffix(got, []byte{0x88, 2, 0x03, 0xe8}) {
				t.Errorf("it is answered %q, %v", got, err)
			}
			_ = conn.Close()
		}
		if page := s.page("/topics/a?limit=1000"); len(page.Events) != 2*times {
			t.Errorf("%d of %d publishes are stored", len(page.Events), 2*times)
		}
	})
}
