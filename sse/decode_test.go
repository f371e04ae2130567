package sse_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/sse"
)

func TestMain(m *testing.M) { leak.Main(m) }

// grammar holds streams and what WHATWG HTML §9.2.6 makes of them.
//
//nolint:dupword // field names repeat
var grammar = []struct {
	name   string
	in     string
	want   []string // see show
	lastID string
	err    error
}{
	{"an empty stream is a clean end", "", nil, "", io.EOF},
	{"data lines are joined by LF", "data: YHOO\ndata: +2\ndata: 10\n\n", []string{`"YHOO\n+2\n10"`}, "", io.EOF},
	{"the standard's four blocks", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
		[]string{`"first event" id="1"`, `"second event" id=""`, `" third event"`}, "", io.EOF},
	{"data without value makes an empty event", "data\n\ndata\ndata\n\ndata:", []string{`""`, `"\n"`}, "", sse.ErrIncomplete},
	{"one space after the colon is dropped", "data:test\n\ndata: test\n\ndata:  test\n\n", []string{`"test"`, `"test"`, `" test"`}, "", io.EOF},
	{"a tab is not a space", "data:\tx\n\n", []string{`"\tx"`}, "", io.EOF},
	{"lines end in LF", "event: a\ndata: b\n\n", []string{`"b" type="a"`}, "", io.EOF},
	{"lines end in CR", "event: a\rdata: b\r\rdata: c\r\r", []string{`"b" type="a"`, `"c"`}, "", io.EOF},
	{"lines end in CR LF", "event: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []string{`"b" type="a"`, `"c"`}, "", io.EOF},
	{"line ends may be mixed", "data: a\rdata: b\r\ndata: c\n\r\ndata: d\n\rdata: e\r\n\n", []string{`"a\nb\nc"`, `"d"`, `"e"`}, "", io.EOF},
	{"LF CR is two line ends", "data: a\n\rdata: b\n\r", []string{`"a"`, `"b"`}, "", io.EOF},
	{"a leading byte order mark is skipped", "\xEF\xBB\xBFdata: a\n\n", []string{`"a"`}, "", io.EOF},
	{"only one byte order mark is skipped", "\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\n", nil, "", io.EOF},
	{"a later byte order mark is part of its line", "data: a\n\n\xEF\xBB\xBFdata: b\n\n", []string{`"a"`}, "", io.EOF},
	{"half a byte order mark is an unfinished line", "\xEF\xBB", nil, "", sse.ErrIncomplete},
	{"comments are skipped", ": a\n:\n:data: x\ndata: y\n\n", []string{`"y"`}, "", io.EOF},
	{"a comment at the end is a clean end", "data: a\n\n: hb\n", []string{`"a"`}, "", io.EOF},
	{"an unfinished comment is a clean end", "data: a\n\n: h", []string{`"a"`}, "", io.EOF},
	{"unknown fields are skipped", "foo: bar\nDATA: x\n data: y\ndataset: z\ndata: w\n\n", []string{`"w"`}, "", io.EOF},
	{"an event without data is none", "event: a\n\ndata: b\n\n", []string{`"b"`}, "", io.EOF},
	{"the last event line counts", "event: a\nevent: b\ndata: c\n\n", []string{`"c" type="b"`}, "", io.EOF},
	{"the type is forgotten between events", "event: a\ndata: b\n\ndata: c\n\n", []string{`"b" type="a"`, `"c"`}, "", io.EOF},
	{"an empty type is no type", "event: a\nevent:\ndata: b\n\n", []string{`"b"`}, "", io.EOF},
	{"an id stays until the next", "id: 1\ndata: a\n\ndata: b\n\n", []string{`"a" id="1"`, `"b"`}, "1", io.EOF},
	{"an id without data counts", "data: a\nid: 1\n\nid: 2\nretry: 7\n\n", []string{`"a" id="1"`}, "2", io.EOF},
	{"an empty id resets", "id: 1\ndata: a\n\nid:\ndata: b\n\n", []string{`"a" id="1"`, `"b" id=""`}, "", io.EOF},
	{"an id with NUL is ignored", "id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n", []string{`"a" id="1"`, `"b"`}, "1", io.EOF},
	{"an id with NUL leaves the one before it", "id: 1\nid: \x00\ndata: a\n\n", []string{`"a" id="1"`}, "1", io.EOF},
	{"an id keeps its spaces", "id:  1 \ndata: a\n\n", []string{`"a" id=" 1 "`}, " 1 ", io.EOF},
	{"the id of an unfinished event does not count", "id: 1\ndata: a\n\nid: 2\ndata: b\n", []string{`"a" id="1"`}, "1", sse.ErrIncomplete},
	{"an unfinished line is no line", "data: a\n\ndata: b", []string{`"a"`}, "", sse.ErrIncomplete},
	{"retry takes digits", "retry: 1500\ndata: a\n\n", []string{`"a" retry=1.5s`}, "", io.EOF},
	{"retry takes only digits", "retry: 1s\nretry: -1\nretry: +1\nretry:\nretry: 1.5\nretry:  2\ndata: a\n\n", []string{`"a"`}, "", io.EOF},
	{"a retry past all bounds is cut", "retry: 99999999999999999999999999\ndata: a\n\n", []string{`"a" retry=2562047h47m16.854s`}, "", io.EOF},
	{"bytes that are not UTF-8 pass", "data: \xff\xfe\n\n", []string{`"\xff\xfe"`}, "", io.EOF},
	{"NUL in data passes", "data: a\x00b\n\n", []string{`"a\x00b"`}, "", io.EOF},
	{"blank lines alone are nothing", "\n\n\r\n\r\rdata: a\n\n\n\n", []string{`"a"`}, "", io.EOF},
}

func TestTheDecoderFollowsTheGrammar(t *testing.T) {
	t.Parallel()
	readers := map[string]func(io.Reader) io.Reader{
		"whole":            func(r io.Reader) io.Reader { return r },
		"byte by byte":     iotest.OneByteReader,
		"half by half":     iotest.HalfReader,
		"data with EOF":    iotest.DataErrReader,
		"empty in between": func(r io.Reader) io.Reader { return &stutter{r: r} },
	}
	for _, g := range grammar {
		for how, wrap := range readers {
			t.Run(g.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				d := sse.NewDecoder(wrap(strings.NewReader(g.in)))
				got, err := drain(d)
				if fmt.Sprint(got) != fmt.Sprint(g.want) {
					t.Errorf("events %v, want %v", got, g.want)
				}
				if err != g.err {
					t.Errorf("error %v, want %v", err, g.err)
				}
				if d.LastEventID() != g.lastID {
					t.Errorf("last event id %q, want %q", d.LastEventID(), g.lastID)
				}
				if _, again := d.Next(); again != err {
					t.Errorf("error %v after %v, want the same for ever", again, err)
				}
			})
		}
	}
}

func TestAnEventIsReturnedAtTheByteThatEndsIt(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r", "\n\r", "\r\n\n"} {
		r, w := io.Pipe()
		d := sse.NewDecoder(r)
		events := make(chan string)
		go func() {
			defer close(events)
			for {
				e, err := d.Next()
				if err != nil {
					return
				}
				events <- show(e)
			}
		}()
		_, _ = io.WriteString(w, "data: a"+end) // hangs the test if the decoder waits for more
		if got := <-events; got != `"a"` {
			t.Errorf("after %q: %s", end, got)
		}
		_, _ = io.WriteString(w, "\ndata: b\n\n")
		if got := <-events; got != `"b"` {
			t.Errorf("after %q and LF: %s", end, got)
		}
		_ = w.Close()
		<-events
	}
}

func TestAnEventOverTheLimitIsAnError(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"one line":           "data: 0123456789\n\n",
		"many lines":         "data: 012\ndata: 012\ndata: 012\n\n",
		"a line without end": "data: 01234567",
		"a comment":          ": 0123456789012\n\n",
	} {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader} {
			d := sse.NewDecoder(wrap(strings.NewReader("data: ok\n\n" + in)))
			d.Max = 13
			got, err := drain(d)
			if len(got) != 1 || !errors.Is(err, sse.ErrTooLarge) {
				t.Errorf("%s: events %v, error %v; want one, ErrTooLarge", name, got, err)
			}
		}
	}
}

func TestAnEventAtTheLimitPasses(t *testing.T) {
	t.Parallel()
	d := sse.NewDecoder(iotest.OneByteReader(strings.NewReader("data: 0123\r\n\r\ndata: 4567\n\n")))
	d.Max = len("data: 0123")
	if got, err := drain(d); len(got) != 2 || err != io.EOF {
		t.Errorf("events %v, error %v", got, err)
	}
}

func TestAReadErrorIsNotAnEnd(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	d := sse.NewDecoder(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	got, err := drain(d)
	if len(got) != 1 || !errors.Is(err, broken) || errors.Is(err, io.EOF) {
		t.Errorf("events %v, error %v; want one, and the reader's error", got, err)
	}
}

func TestAReaderThatReturnsNothingIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := sse.NewDecoder(idle{}).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want io.ErrNoProgress", err)
	}
}

func TestTheLastRetryIsKept(t *testing.T) {
	t.Parallel()
	d := sse.NewDecoder(strings.NewReader("retry: 10\n\nretry: 20\ndata: a\n\nretry: 0\n"))
	if _, ok := d.Retry(); ok {
		t.Error("a retry before any was read")
	}
	_, _ = d.Next()
	if retry, ok := d.Retry(); !ok || retry != 20*time.Millisecond {
		t.Errorf("retry %v %v, want 20ms", retry, ok)
	}
	_, _ = d.Next() // the retry of an unfinished event counts: it takes effect at its line
	if retry, ok := d.Retry(); !ok || retry != 0 {
		t.Errorf("retry %v %v, want 0", retry, ok)
	}
}

func TestTheDataOfAnEventIsTheCallers(t *testing.T) {
	t.Parallel()
	d := sse.NewDecoder(strings.NewReader("data: aaaa\n\ndata: bbbb\n\n"))
	first, _ := d.Next()
	clear(first.Data)
	second, _ := d.Next()
	if string(first.Data) != "\x00\x00\x00\x00" || string(second.Data) != "bbbb" {
		t.Errorf("%q, %q", first.Data, second.Data)
	}
}

// drain returns every event of d, as show has it, and the final error.
func drain(d *sse.Decoder) ([]string, error) {
	var got []string
	for {
		e, err := d.Next()
		if err != nil {
			return got, err
		}
		got = append(got, show(e))
	}
}

func show(e sse.Event) string {
	s := fmt.Sprintf("%q", e.Data)
	if e.Type != "" {
		s += fmt.Sprintf(" type=%q", e.Type)
	}
	if e.HasID {
		s += fmt.Sprintf(" id=%q", e.ID)
	}
	if e.Retry != 0 {
		s += fmt.Sprintf(" retry=%v", e.Retry)
	}
	return s
}

// stutter reads nothing every other time.
type stutter struct {
	r   io.Reader
	odd bool
}

func (s *stutter) Read(p []byte) (int, error) {
	s.odd = !s.odd
	if s.odd {
		return 0, nil
	}
	return s.r.Read(p)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }
