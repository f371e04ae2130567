package deliver_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
)

func unstarted(cfg deliver.Config) *httptest.Server {
	return httptest.NewUnstartedServer(deliver.New(cfg))
}

func TestTheTransportIsWhatAcceptAsksFor(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("t", "x", "Fairlead-Close: ?1") // so that streams end
		for accept, want := range map[string]string{
			"*/*":                                 "text/event-stream",
			"text/event-stream":                   "text/event-stream",
			"text/*":                              "text/event-stream",
			"application/json, text/event-stream": "text/event-stream",
			"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/event-stream",
			"application/json":                              "application/json",
			"Application/JSON; charset=utf-8":               "application/json",
			"application/json, text/plain, */*":             "application/json",
			"application/*":                                 "application/json",
			"application/json;q=0.5, text/event-stream;q=1": "text/event-stream",
			"*/*, text/event-stream;q=0":                    "application/json",
			"text/html":                                     "application/problem+json",
			"*/*;q=0":                                       "application/problem+json",
			"*/*;q=nonsense":                                "application/problem+json",
			",, ,":                                          "text/event-stream",
		} {
			if a := s.do("GET", "/topics/t", "", "Accept: "+accept); a.header.Get("Content-Type") != want {
				t.Errorf("%s is answered with %d %s, want %s", accept, a.status, a.header.Get("Content-Type"), want)
			}
		}
		a := s.do("GET", "/topics/t", "")
		if h := a.header; h.Get("Cache-Control") != "no-store, no-transform" || h.Get("Vary") != "Accept, Prefer" || h.Get("X-Accel-Buffering") != "no" {
			t.Errorf("the header of a stream is %q", h)
		}
	})
}

func TestAStreamBeginsWithItsPlaceAndATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		at := s.publish("t", "0", "Fairlead-Close: ?1")
		a := s.do("GET", "/topics/t", "")
		if first, _, _ := strings.Cut(a.body, "\n\n"); !strings.HasPrefix(first, "id: "+string(at)+"\nretry: ") || strings.Contains(first, "data") {
			t.Errorf("the stream begins with %q", first)
		}
		// A cursor that has a gap behind it stays until the gap is told.
		foreign := string(fairlead.NewCursor(1, 1))
		a = s.do("GET", "/topics/t?after="+foreign, "")
		if !strings.HasPrefix(a.body, "id: "+foreign+"\n") || !strings.Contains(a.body, "event: fairlead.gap\ndata: {\"after\":\""+foreign+"\",\"earliest\":\""+string(at)+"\",\"skipped\":null}") {
			t.Errorf("the stream is %q", a.body)
		}
	})
}

func TestTheHeaderWinsOverTheURL(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		at := s.publish("t", "0")
		s.publish("t", "1")
		s.events("/topics/t?after=earliest", "Last-Event-ID: "+string(at)).expect("1")
		s.events("/topics/t?last_event_id=" + string(at)).expect("1")
		s.socket("/topics/t?after=" + string(at)).expect("1")
	})
}

func TestSeveralTopicsShareAStreamAndOneID(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		for _, name := range []string{"a", "b", "c"} {
			s.publish(name, name+"0")
		}
		path := "/topics?topic=a&topic=b&topic=a&after=earliest"
		stream := s.events(path)
		at := stream.expect("a0", "b0")
		stream.close()
		s.publish("b", "b1")
		s.publish("a", "a1", "Fairlead-Close: ?1")
		stream = s.events(path, "Last-Event-ID: "+string(at))
		seen := map[string]bool{}
		for len(seen) < 3 {
			e := stream.next()
			what, _, _ := strings.Cut(e.Type+string(e.Data), `,"cursor"`)
			seen[what] = true
		}
		if !seen["a1"] || !seen["b1"] || !seen[`fairlead.end{"topic":"a"`] {
			t.Errorf("after the drop came %v", seen)
		}
		at = fairlead.Cursor(stream.LastEventID())
		stream.close()
		s.publish("b", "b2")
		s.events(path, "Last-Event-ID: "+string(at)).expect("b2")
		// A topic that the id does not name starts live, and one alone can go on.
		stream = s.events("/topics?topic=b&topic=c", "Last-Event-ID: "+string(at))
		stream.expect("b2")
		s.publish("c", "c1")
		stream.expect("c1")
		s.publish("b", "b3", "Fairlead-Close: ?1")
		s.publish("c", "c2", "Fairlead-Close: ?1")
		for range 4 {
			stream.next()
		}
		if a := s.do("GET", "/topics?topic=b&topic=c", "", "Last-Event-ID: "+stream.LastEventID()); a.status != 204 {
			t.Errorf("past all ends: %d %s", a.status, a.body)
		}
		plain := s.page("/topics/c").Events[0].Cursor
		if a := s.do("GET", "/topics?topic=b&topic=c&after="+string(plain), ""); a.status != 400 {
			t.Errorf("a single topic's cursor is %d", a.status)
		}
		var many strings.Builder
		for i := range 101 {
			fmt.Fprintf(&many, "&topic=t%d", i)
		}
		if a := s.do("GET", "/topics?"+many.String(), ""); a.status != 431 {
			t.Errorf("101 topics are %d", a.status)
		}
	})
}

func TestDataIsCarriedAsItIs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		s.publish("t", "two\nlines\r\nor three", "Fairlead-Type: note")
		if a := s.do("POST", "/topics/t", "\xff\x00", "Content-Type: image/x"); a.status != 201 {
			t.Fatal(a)
		}
		s.publish("t", "", "Fairlead-Close: ?1")
		stream := s.events("/topics/t?after=earliest")
		if e := stream.next(); e.Type != "note" || string(e.Data) != "two\nlines\nor three" {
			t.Errorf("text is %+v", e)
		}
		bytes := decode[wire.Envelope](t, string(stream.next().Data))
		if e := bytes.Event(); string(e.Data) != "\xff\x00" {
			t.Errorf("bytes are %+v", e)
		}
		stream = s.events("/topics/t?after=earliest&format=envelope")
		e := stream.next()
		v := decode[wire.Envelope](t, string(e.Data))
		if got := v.Event(); got.Topic != "t" || got.Type != "note" || string(got.Data) != "two\nlines\r\nor three" || string(got.Cursor) != e.ID || got.Time.IsZero() {
			t.Errorf("the envelope is %+v", got)
		}
	})
}

func TestSkippedEventsAreCountedOnEveryTransport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{Topics: topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.LatestPerKey}
		}})})
		for i := range 4 {
			s.publish("t", fmt.Sprint(i), "Fairlead-Key: k")
		}
		s.publish("t", "last", "Fairlead-Close: ?1")
		if a := s.do("GET", "/topics/t?after=earliest", ""); !strings.Contains(a.body, ": skipped 3\n") {
			t.Errorf("the stream is %q", a.body)
		}
		if p := s.page("/topics/t"); len(p.Events) != 2 || p.Events[0].Skipped != 3 || string(p.Events[0].Data) != `"3"` {
			t.Errorf("the page is %+v", p)
		}
		if m := s.socket("/topics/t?after=earliest").next(); m.Skipped != 3 || m.data() != "3" {
			t.Errorf("the socket says %s", m.text)
		}
		many := s.socket("/topics", "fairlead.v1.json")
		many.send(`{"id":1,"subscribe":"t","after":"snapshot"}`)
		many.next()
		if m := many.next(); m.Message.Event == nil || m.data() != "3" {
			t.Errorf("the snapshot begins with %s", m.text)
		}
	})
}

func TestPagesFollowEachOther(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{})
		if a := s.do("POST", "/topics/t", strings.Repeat("1\n", 250), "Content-Type: application/x-ndjson"); a.status != 201 {
			t.Fatal(a)
		}
		after, sizes := "earliest", []int{}
		for range 4 {
			p := s.page("/topics/t?after=" + after)
			sizes = append(sizes, len(p.Events))
			after = string(p.Next)
		}
		if fmt.Sprint(sizes) != "[100 100 50 0]" {
			t.Errorf("the pages have %v events", sizes)
		}
		if n := len(s.page("/topics/t?limit=7").Events); n != 7 {
			t.Errorf("a page of 7 has %d", n)
		}
		a := s.do("GET", "/topics/t?limit=99999999999999999999&wait=99999999999999999999", "", "Accept: application/json")
		if got := a.header.Get("Preference-Applied"); a.status != 200 || got != "wait=50" {
			t.Errorf("too much of everything is %d, %q", a.status, got)
		}
		if a := s.do("HEAD", "/topics", ""); a.status != 405 || a.header.Get("Allow") != "GET, OPTIONS" {
			t.Errorf("HEAD of them all is %d, %q", a.status, a.header)
		}
		if n := len(s.page("/topics/t?limit=99999").Events); n != 250 {
			t.Errorf("a page of many has %d", n)
		}
	})
}

func TestOnlyItsOwnAndAllowedPagesMayUseATopic(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		s := serve(deliver.Config{Origins: []string{"https://app.example"}})
		s.publish("t", "x")
		for _, c := range []struct {
			want    int
			headers []string
		}{
			{200, nil},
			{200, []string{"Host: here:80", "Origin: http://here"}},
			{200, []string{"Host: here", "Origin: https://here:443"}},
			{200, []string{"Origin: https://app.example"}},
			{200, []string{"Sec-Fetch-Site: same-origin"}},
			{403, []string{"Host: here", "Origin: http://here:81"}},
			{403, []string{"Host: here", "Origin: ftp://here"}},
			{403, []string{"Origin: null"}},
			{403, []string{"Origin: https://app.example.evil"}},
			{403, []string{"Sec-Fetch-Site: cross-site"}},
			{403, []string{"Origin: https://app.example", "Origin: https://elsewhere.example"}},
		} {
			if a := s.do("GET", "/topics/t", "", append(c.headers, "Accept: application/json")...); a.status != c.want {
				t.Errorf("%q is %d, want %d", c.headers, a.status, c.want)
			}
		}
		a := s.do("OPTIONS", "/topics/t", "", "Origin: https://app.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: fairlead-type")
		if h := a.header; a.status != 204 || h.Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") ||
			h.Get("Access-Control-Allow-Headers") != "fairlead-type" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
			t.Errorf("the preflight is %d %q", a.status, h)
		}
	})
}
