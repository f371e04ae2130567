package deliver_test

import (
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
)

func TestOneCursorServesEveryTransport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		for _, data := range []string{"0", "1", "2", "3", "4", "5"} {
			s.publish("a/b", data)
		}
		stream := s.events("/topics/a/b?after=earliest")
		at := stream.expect("0", "1", "2")
		stream.close()

		socket := s.socket("/topics/a/b?after=" + string(at))
		at = socket.expect("3", "4", "5")
		_ = socket.CloseNow()

		polled := make(chan []string, 1)
		go func() {
			var data []string
			for _, v := range s.page("/topics/a/b?after="+string(at), "Prefer: wait=30").Events {
				e := v.Event()
				data = append(data, string(e.Data))
			}
			polled <- data
		}()
		s.publish("a/b", "6")
		if data := <-polled; len(data) != 1 || data[0] != "6" {
			t.Errorf("the long poll got %q", data)
		}

		many := s.socket("/topics", "fairlead.v1.json")
		many.send(`{"id":1,"subscribe":"a/b","after":"%s"}`, at)
		if m := many.next(); string(m.ID) != "1" || m.OK == nil {
			t.Errorf("the answer is %s", m.text)
		}
		if m := many.next(); m.Message.Event == nil || m.data() != "6" || m.Message.Event.Topic != "a/b" {
			t.Errorf("the first event is %s", m.text)
		}
	})
}

func TestAReaderIsToldTheEndOnEveryTransport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("job", "half")
		stream, socket := s.events("/topics/job?after=earliest"), s.socket("/topics/job?after=earliest")
		s.publish("job", "whole", "Fairlead-Close: ?1")
		stream.expect("half", "whole")
		end := stream.next()
		if end.Type != fairlead.TypeEnd || end.ID == "" {
			t.Errorf("the end is %+v", end)
		}
		if _, err := stream.Next(); err == nil {
			t.Error("the stream goes on after its end")
		}
		socket.expect("half", "whole")
		if m := socket.next(); m.End == nil || m.End.Topic != "job" {
			t.Errorf("the end is %s", m.text)
		}
		if code, _ := socket.closed(); code != 1000 {
			t.Errorf("the close code is %d", code)
		}
		if a := s.do("GET", "/topics/job", "", "Last-Event-ID: "+end.ID); a.status != 204 {
			t.Errorf("past the end SSE is %d", a.status)
		}
		if p := s.page("/topics/job?after=" + end.ID); !p.Closed || p.End == nil || len(p.Events) != 0 || string(p.Next) != end.ID {
			t.Errorf("past the end the page is %+v", p)
		}
		if code, _ := s.socket("/topics/job?after=" + end.ID).closed(); code != 1000 {
			t.Errorf("past the end the socket is closed with %d", code)
		}
		if a := s.do("POST", "/topics/job", "more"); a.status != 409 {
			t.Errorf("a publish after the end is %d", a.status)
		}
	})
}
