package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// event is what an SSE client makes of a block of lines.
type event struct{ id, kind, data string }

// event returns the next event that curl prints, comments and blocks without
// data left out; ok is false once the stream has ended.
func (p *process) event() (e event, ok bool) {
	p.t.Helper()
	var data []string
	for {
		line, ok := p.next()
		if !ok {
			return event{}, false
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && data != nil:
			e.data = strings.Join(data, "\n")
			return e, true
		case line == "":
			e = event{id: e.id}
		case field == "id":
			e.id = value
		case field == "event":
			e.kind = value
		case field == "data":
			data = append(data, value)
		}
	}
}

// expect reads events and fails unless their data is as given, in order.
func (p *process) expect(data ...string) (last event) {
	p.t.Helper()
	for _, want := range data {
		e, ok := p.event()
		if !ok || e.data != want {
			p.t.Fatalf("event is %+v (stream open: %v), want data %q", e, ok, want)
		}
		last = e
	}
	return last
}

type page struct {
	Events []struct {
		Cursor string
		Data   any
	}
	Next   string
	Closed bool
	Gap    *struct{ After, Earliest string }
}

func (pg page) data() string {
	var all []string
	for _, e := range pg.Events {
		all = append(all, fmt.Sprint(e.Data))
	}
	return strings.Join(all, " ")
}

func getPage(t *testing.T, url string, args ...string) page {
	t.Helper()
	return decode[page](t, strings.Join(curl(t, append(args, "-H", "Accept: application/json", url)...).rest(), ""))
}

// status returns the status code and the header lines of an answer.
func status(t *testing.T, args ...string) (code string, headers []string) {
	t.Helper()
	lines := curl(t, append([]string{"-o", "/dev/null", "-D", "-"}, args...)...).rest()
	if len(lines) == 0 {
		t.Fatal("no answer")
	}
	return strings.Fields(lines[0])[1], lines[1:]
}

func header(headers []string, name string) string {
	for _, line := range headers {
		if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestCurlResumesATopicExactlyAfterADrop(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 5 {
		s.publish("news", fmt.Sprint("event ", i))
	}
	first := curl(t, s.http+"/topics/news?after=earliest")
	at := first.expect("event 0", "event 1", "event 2")
	first.kill()

	second := curl(t, "-H", "Last-Event-ID: "+at.id, s.http+"/topics/news")
	second.expect("event 3", "event 4")
	s.publish("news", "event 5")
	second.expect("event 5")
}

func TestCurlHandsOneCursorFromSSEToWebSocketToLongPoll(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for i := range 6 {
		s.publish("a/b", fmt.Sprint(i))
	}
	sse := curl(t, s.http+"/topics/a/b?after=earliest")
	at := sse.expect("0", "1", "2").id
	sse.kill()

	socket := node(t, "ws.mjs", "ws"+strings.TrimPrefix(s.http, "http")+"/topics/a/b?after="+at)
	decode[struct{ Open string }](t, socket.line())
	for _, want := range []string{"3", "4", "5"} {
		e := decode[struct {
			Topic, Cursor string
			Data          any
		}](t, socket.line())
		if e.Topic != "a/b" || fmt.Sprint(e.Data) != want {
			t.Fatalf("got %+v, want data %s", e, want)
		}
		at = e.Cursor
	}
	socket.kill()

	poll := curl(t, "-H", "Accept: application/json", "-H", "Prefer: wait=30", s.http+"/topics/a/b?after="+at)
	s.publish("a/b", "6")
	got := decode[page](t, strings.Join(poll.rest(), ""))
	if got.data() != "6" {
		t.Errorf("the long poll got %+v, want 6", got)
	}
}

func TestCurlReadsPagesAndHeadAndDeletes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	url := s.http + "/topics/orders"
	if code, _ := status(t, url); code != "404" {
		t.Errorf("an unknown topic is %s, want 404", code)
	}
	cursors := []string{}
	for i := range 4 {
		cursors = append(cursors, s.publish("orders", fmt.Sprint("order-", i)))
	}
	if !slices.IsSorted(cursors) {
		t.Errorf("cursors do not sort as strings: %q", cursors)
	}

	pg := getPage(t, url+"?limit=3")
	if pg.data() != "order-0 order-1 order-2" || pg.Next != cursors[2] || pg.Closed {
		t.Errorf("first page is %+v", pg)
	}
	if pg = getPage(t, url+"?after="+pg.Next); pg.data() != "order-3" {
		t.Errorf("second page is %+v", pg)
	}
	if pg = getPage(t, url+"?after="+pg.Next); len(pg.Events) != 0 || pg.Next != cursors[3] {
		t.Errorf("page past the last event is %+v", pg)
	}

	code, headers := status(t, "-I", url)
	if code != "200" || header(headers, "Fairlead-Latest") != cursors[3] || header(headers, "Fairlead-Closed") != "?0" {
		t.Errorf("HEAD is %s with %q", code, headers)
	}
	if code, _ = status(t, "-X", "DELETE", url); code != "204" {
		t.Errorf("DELETE is %s, want 204", code)
	}
	if code, _ = status(t, url); code != "404" {
		t.Errorf("a removed topic is %s, want 404", code)
	}
	s.publish("orders", "order-new")
	if pg = getPage(t, url+"?after="+cursors[1]); pg.Gap == nil || pg.data() != "order-new" {
		t.Errorf("a cursor of the removed topic gives %+v, want a gap and the new event", pg)
	}
	if code, _ = status(t, "-H", "Accept: application/json", url+"?gap=fail&after="+cursors[1]); code != "410" {
		t.Errorf("with gap=fail the gap is %s, want 410", code)
	}
}

func TestCurlLearnsThatATopicHasEnded(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.publish("job", "half")
	reader := curl(t, s.http+"/topics/job?after=earliest")
	reader.expect("half")
	if code, _ := status(t, "-d", "whole", "-H", "Content-Type: text/plain", "-H", "Fairlead-Close: ?1", s.http+"/topics/job"); code != "201" {
		t.Errorf("closing with a last event is %s, want 201", code)
	}
	reader.expect("whole")
	end, ok := reader.event()
	if !ok || end.kind != "fairlead.end" || end.id == "" {
		t.Fatalf("the end is %+v", end)
	}
	_, open := reader.event()
	reader.wait()
	if open || reader.err != nil {
		t.Errorf("the stream goes on after its end, or was cut: %v", reader.err)
	}
	if code, _ := status(t, "-H", "Last-Event-ID: "+end.id, s.http+"/topics/job"); code != "204" {
		t.Errorf("reconnecting past the end is %s, want 204", code)
	}
	if code, _ := status(t, "-d", "more", s.http+"/topics/job"); code != "409" {
		t.Errorf("publishing after the end is %s, want 409", code)
	}
}

func TestARetriedPublishWithAKeyIsStoredOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	url := s.http + "/topics/pay"
	args := []string{"-d", "100 EUR", "-H", "Content-Type: text/plain", "-H", "Idempotency-Key: k-1", url}
	first := strings.Join(curl(t, args...).rest(), "")
	if again := strings.Join(curl(t, args...).rest(), ""); again != first {
		t.Errorf("the retry is answered with %s, the first with %s", again, first)
	}
	if pg := getPage(t, url); pg.data() != "100 EUR" {
		t.Errorf("the topic holds %+v", pg)
	}
	if code, _ := status(t, "-d", "200 EUR", "-H", "Content-Type: text/plain", "-H", "Idempotency-Key: k-1", url); code != "422" {
		t.Errorf("the key with another body is %s, want 422", code)
	}
}

func TestCurlIsToldOfAGap(t *testing.T) {
	t.Parallel()
	s := serve(t, "--config", file(t, "small.yaml", "topics:\n  - {match: small, retain: {events: 3}}\n"))
	var cursors []string
	for i := range 6 {
		cursors = append(cursors, s.publish("small", fmt.Sprint(i)))
	}
	reader := curl(t, "-H", "Last-Event-ID: "+cursors[0], s.http+"/topics/small")
	gap, _ := reader.event()
	told := decode[struct {
		After, Earliest string
		Skipped         int
	}](t, gap.data)
	if gap.kind != "fairlead.gap" || gap.id == "" || told.After != cursors[0] || told.Skipped != 2 {
		t.Errorf("the first event is %+v, want a gap after %s with 2 skipped", gap, cursors[0])
	}
	reader.expect("3", "4", "5")
}

// file writes a file for the program under test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
