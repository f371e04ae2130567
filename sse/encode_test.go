package sse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

//nolint:dupword // field names repeat
func TestAnEventIsEncodedLineByLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		event sse.Event
		want  string
	}{
		{sse.Event{}, "data: \n\n"},
		{sse.Event{Data: []byte("a")}, "data: a\n\n"},
		{sse.Event{Data: []byte(" a")}, "data:  a\n\n"},
		{sse.Event{Data: []byte("a\nb\rc\r\nd\n\r")}, "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: \n\n"},
		{sse.Event{Data: []byte("\r\n")}, "data: \ndata: \n\n"},
		{sse.Event{Data: []byte("a\r\r\nb")}, "data: a\ndata: \ndata: b\n\n"},
		{sse.Event{ID: "7", Type: "tick", Data: []byte("a")}, "id: 7\nevent: tick\ndata: a\n\n"},
		{sse.Event{HasID: true, Data: []byte("a")}, "id: \ndata: a\n\n"},
		{sse.Event{Retry: 1500 * time.Millisecond}, "retry: 1500\ndata: \n\n"},
		{sse.Event{Retry: time.Nanosecond}, "retry: 1\ndata: \n\n"},
		{sse.Event{Retry: -1}, "data: \n\n"},
	} {
		got, err := sse.Append([]byte("x"), c.event)
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("%+v: %q, %v; want %q", c.event, got, err, "x"+c.want)
		}
	}
}

func TestWhatALineCannotCarryIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"a\nb", "a\rb", "a\x00b", "\xff"} {
		if got, err := sse.Append([]byte("x"), sse.Event{ID: bad}); err == nil || string(got) != "x" {
			t.Errorf("id %q: %q, %v", bad, got, err)
		}
		if got, err := sse.Append([]byte("x"), sse.Event{Type: bad}); err == nil || string(got) != "x" {
			t.Errorf("type %q: %q, %v", bad, got, err)
		}
		if got, err := sse.AppendIDLine([]byte("x"), bad); err == nil || string(got) != "x" {
			t.Errorf("id line %q: %q, %v", bad, got, err)
		}
		if got, err := sse.AppendPosition([]byte("x"), bad, 0); err == nil || string(got) != "x" {
			t.Errorf("position %q: %q, %v", bad, got, err)
		}
	}
}

func TestAFrameIsSharedByReadersWithIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	frame, _ := sse.Append(nil, sse.Event{Type: "tick", Data: []byte("a")})
	for _, id := range []string{"1", "", "x y"} {
		mine, err := sse.AppendIDLine(nil, id)
		if err != nil {
			t.Fatal(err)
		}
		e, err := sse.NewDecoder(strings.NewReader(string(mine) + string(frame))).Next()
		if err != nil || e.ID != id || !e.HasID || string(e.Data) != "a" {
			t.Errorf("id %q: %+v, %v", id, e, err)
		}
	}
}

func TestAPositionSetsTheIDWithoutAnEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id    string
		retry time.Duration
		want  string
	}{
		{"9", 2 * time.Second, "id: 9\nretry: 2000\n\n"},
		{"9", 0, "id: 9\n\n"},
		{"", time.Second, "retry: 1000\n\n"},
		{"", 0, ""},
	} {
		got, err := sse.AppendPosition(nil, c.id, c.retry)
		if err != nil || string(got) != c.want {
			t.Errorf("%q, %v: %q, %v; want %q", c.id, c.retry, got, err, c.want)
		}
		d := sse.NewDecoder(strings.NewReader(string(got)))
		if events, _ := drain(d); len(events) != 0 || d.LastEventID() != c.id {
			t.Errorf("%q: events %v, last event id %q", got, events, d.LastEventID())
		}
	}
}

func TestACommentIsNoEventWhateverItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                  ": \n\n",
		"hb":                ": hb\n\n",
		"a\ndata: x\r\n\nb": ": a\n: data: x\n: \n: b\n\n",
	} {
		got := string(sse.AppendComment(nil, text))
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if events, _ := drain(sse.NewDecoder(strings.NewReader(got))); len(events) != 0 {
			t.Errorf("%q: events %v", text, events)
		}
	}
}

func TestTheEncoderDoesNotAllocate(t *testing.T) {
	e := sse.Event{ID: "0001", Type: "tick", Data: []byte("one\ntwo"), Retry: time.Second}
	buf := make([]byte, 0, 1024)
	for name, f := range map[string]func(){
		"event":    func() { buf, _ = sse.Append(buf[:0], e) },
		"id line":  func() { buf, _ = sse.AppendIDLine(buf[:0], "0001") },
		"position": func() { buf, _ = sse.AppendPosition(buf[:0], "0001", time.Second) },
		"comment":  func() { buf = sse.AppendComment(buf[:0], "heartbeat") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestTheSplitterDoesNotAllocateInSteadyState(t *testing.T) {
	var s sse.Splitter
	piece := []byte("data: a\n\nid: 1\ndata: b\ndata: c\n\nevent: x\nda")
	rest := []byte("ta: y\n\n")
	turn := func() {
		for _, p := range [][]byte{piece, rest} {
			s.Feed(p)
			for _, ok := s.Next(); ok; _, ok = s.Next() {
				continue
			}
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
