package deliver_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// stored publishes and returns what is in the topic then.
func stored(t *testing.T, s *site, body string, headers ...string) []fairlead.Event {
	t.Helper()
	if a := s.do("POST", "/topics/t", body, headers...); a.status != 201 {
		t.Fatalf("publish: %d %s", a.status, a.body)
	}
	var all []fairlead.Event
	for _, v := range s.page("/topics/t").Events {
		all = append(all, v.Event())
	}
	return all
}

func TestAPublishKeepsWhatItsHeadersSay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		e := stored(t, s, "\x00\xff", "Content-Type: image/x", "Fairlead-Type: tick", "Fairlead-Key: eur", "Fairlead-Critical: ?1", "Traceparent: "+traceparent)[0]
		if string(e.Data) != "\x00\xff" || e.ContentType != "image/x" || e.Type != "tick" || e.Key != "eur" || e.Traceparent != traceparent {
			t.Errorf("got %+v", e)
		}
		for _, h := range []string{"Fairlead-Critical: yes", "Fairlead-Close: 1", "Fairlead-Critical: true"} {
			if a := s.do("POST", "/topics/t", "x", h); a.status != 400 || !strings.Contains(a.body, "?1 or ?0") {
				t.Errorf("%s is %d %s", h, a.status, a.body)
			}
		}
		if a := s.do("POST", "/topics/t", "x", "Traceparent: nonsense", "Fairlead-Close: ?0;a=1"); a.status != 201 {
			t.Errorf("a traceparent to be ignored is %d %s", a.status, a.body)
		}
	})
}

func TestACloudEventIsReadInEachMode(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		want := map[string]string{"specversion": "1.0", "id": "7", "source": "/a b", "subject": "s", "n": "5"}
		check := func(how string, events []fairlead.Event, data, contentType string) {
			t.Helper()
			e := events[len(events)-1]
			if e.Type != "com.example" || e.Key != "k" || e.Time.Year() != 2026 || e.Traceparent != traceparent || !maps.Equal(e.Attributes, want) {
				t.Errorf("%s: got %+v", how, e)
			}
			if string(e.Data) != data || e.ContentType != contentType {
				t.Errorf("%s: got data %q of type %q", how, e.Data, e.ContentType)
			}
		}
		s := serve(deliver.Config{})
		check("binary", stored(t, s, "hello", "Content-Type: text/plain", "ce-specversion: 1.0", "ce-id: 7", "ce-source: /a%20b", "ce-type: com.example",
			"ce-subject: s", "ce-n: 5", "ce-time: 2026-01-02T03:04:05Z", "ce-partitionkey: k", "ce-traceparent: "+traceparent), "hello", "text/plain")
		event := `{"specversion":"1.0","id":"7","source":"/a b","type":"com.example","subject":"s","n":5,"time":"2026-01-02T03:04:05Z","partitionkey":"k","traceparent":"` +
			traceparent + `",%s}`
		check("structured", stored(t, s, fmt.Sprintf(event, `"data":{"a":1}`), "Content-Type: application/cloudevents+json; charset=utf-8"), `{"a":1}`, "application/json")
		check("text", stored(t, s, fmt.Sprintf(event, `"datacontenttype":"text/plain","data":"a"`), "Content-Type: application/cloudevents+json"), `a`, "text/plain")
		check("bytes", stored(t, s, fmt.Sprintf(event, `"datacontenttype":"image/x","data_base64":"AP8="`), "Content-Type: application/cloudevents+json"), "\x00\xff", "image/x")
		batch := "[" + fmt.Sprintf(event, `"data":1`) + "," + fmt.Sprintf(event, `"data":2`) + "]"
		check("batch", stored(t, s, batch, "Content-Type: application/cloudevents-batch+json"), "2", "application/json")
		if n := len(s.page("/topics/t").Events); n != 6 {
			t.Errorf("there are %d events, want 6", n)
		}
		for _, bad := range []string{"[" + fmt.Sprintf(event, `"data":1`) + `,{"id":"1"}]`, "[" + fmt.Sprintf(event, `"data":"\xff"`) + "]", "[]", "{}", "[1]", "[null]"} {
			if a := s.do("POST", "/topics/t", bad, "Content-Type: application/cloudevents-batch+json"); a.status != 400 {
				t.Errorf("%s is %d %s", bad, a.status, a.body)
			}
		}
		for _, h := range []string{"ce-id: %zz", "ce-id: ", "ce-specversion: 0.3", "ce-time: today", "ce-time: 0000-01-01T00:00:00+01:00", "ce-time: 9999-12-31T23:59:59-01:00", "ce-a_b: c"} {
			if a := s.do("POST", "/topics/t", "x", "ce-specversion: 1.0", "ce-id: 1", "ce-source: s", "ce-type: t", h); a.status != 400 {
				t.Errorf("%s is %d %s", h, a.status, a.body)
			}
		}
		for _, member := range []string{`"id":7`, `"source":true`, `"type":1`, `"specversion":1.0`, `"source":"\xff"`} {
			if a := s.do("POST", "/topics/t", fmt.Sprintf(event, member), "Content-Type: application/cloudevents+json"); a.status != 400 {
				t.Errorf("%s is %d %s", member, a.status, a.body)
			}
		}
		reserved := "[" + fmt.Sprintf(event, `"data":1`) + "," + fmt.Sprintf(event, `"type":"fairlead.end"`) + "]"
		if a := s.do("POST", "/topics/t", reserved, "Content-Type: application/cloudevents-batch+json"); a.status != 400 || !strings.Contains(a.body, "event 2 of the batch") {
			t.Errorf("a reserved type in a batch is %d %s", a.status, a.body)
		}
		if a := s.do("POST", "/topics/t", "x", "Content-Type: application/cloudevents+avro"); a.status != 415 {
			t.Errorf("another format is %d", a.status)
		}
		if n := len(s.page("/topics/t").Events); n != 6 {
			t.Errorf("there are %d events, want 6", n)
		}
	})
}

func TestABatchIsStoredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		a := s.do("POST", "/topics/t", "{\"n\":1}\r\n\n[2]\n\"three\"", "Content-Type: application/x-ndjson", "Fairlead-Type: line")
		got := decode[struct {
			Cursors []fairlead.Cursor
			Count   int
		}](t, a.body)
		p := s.page("/topics/t")
		if a.status != 201 || got.Count != 3 || len(got.Cursors) != 2 || len(p.Events) != 3 || p.Events[0].Cursor != got.Cursors[0] || p.Next != got.Cursors[1] {
			t.Errorf("got %s and %+v", a.body, p)
		}
		a = s.do("POST", "/topics/t", "1\n2\n{", "Content-Type: application/x-ndjson")
		if a.status != 400 || !strings.Contains(a.body, "line 3") || s.page("/topics/t").Next != p.Next {
			t.Errorf("the broken batch is %d %s", a.status, a.body)
		}
		if a := s.do("POST", "/topics/t", "1\n\"\xff\"", "Content-Type: application/x-ndjson"); a.status != 400 || !strings.Contains(a.body, "line 2") {
			t.Errorf("a line that is not UTF-8 is %d %s", a.status, a.body)
		}
		if a := s.do("POST", "/topics/t", strings.Repeat("1\n", 10_001), "Content-Type: application/x-ndjson"); a.status != 413 {
			t.Errorf("an endless batch is %d", a.status)
		}
	})
}

func TestARepeatedPublishIsStoredOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		key := "Idempotency-Key: k"
		first := s.publish("t", "a", key)
		if again := s.publish("t", "a", key); again != first || len(s.page("/topics/t").Events) != 1 {
			t.Errorf("the second publish is at %s, the first at %s", again, first)
		}
		for _, headers := range [][]string{{key, "Fairlead-Type: x"}, {key, "Content-Type: text/html"}, {key, "Fairlead-Close: ?1"}} {
			if a := s.do("POST", "/topics/t", "a", headers...); a.status != 422 {
				t.Errorf("%q is %d", headers, a.status)
			}
		}
		s.publish("u", "b", key) // a key is its topic's
	})
}

func TestATopicIsClosedWithOrWithoutALastEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("t", "a")
		if a := s.do("POST", "/topics/t", "", "Fairlead-Close: ?1"); a.status != 201 {
			t.Errorf("closing is %d %s", a.status, a.body)
		}
		p := s.page("/topics/t")
		if len(p.Events) != 1 || !p.Closed || p.End == nil || p.End.Cursor != p.Next {
			t.Errorf("the page is %+v", p)
		}
		if a := s.do("HEAD", "/topics/t", ""); a.header.Get("Fairlead-Closed") != "?1" || a.header.Get("Fairlead-Latest") != string(p.Events[0].Cursor) {
			t.Errorf("HEAD says %q", a.header)
		}
	})
}

func TestPublishingIsOffUnlessItIsTurnedOn(t *testing.T) {
	t.Parallel()
	s := started(t, unstarted(deliver.Config{}))
	off := &site{t: t, url: s.URL}
	for _, method := range []string{"POST", "DELETE"} {
		if a := off.do(method, "/topics/t", ""); a.status != 403 || !strings.Contains(a.body, "publish_token") {
			t.Errorf("%s is %d %s", method, a.status, a.body)
		}
	}
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{PublishToken: "secret"})
		if a := s.do("POST", "/topics/t", "x"); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("without a token: %d %q", a.status, a.header)
		}
		if a := s.do("POST", "/topics/t", "x", "Authorization: bearer secret"); a.status != 201 {
			t.Errorf("with it: %d %s", a.status, a.body)
		}
		if a := s.do("DELETE", "/topics/t", "", "Authorization: Bearer secret"); a.status != 204 {
			t.Errorf("DELETE: %d %s", a.status, a.body)
		}
	})
}
