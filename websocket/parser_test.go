package websocket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

// event is what a reader of frames tells. Kind is 0 for an error.
type event struct {
	kind    websocket.MessageType
	payload string
	code    int
}

// parse gives a parser its input in pieces, up to the end.
func parse(t testing.TB, p *websocket.Parser, pieces ...[]byte) []event {
	t.Helper()
	var told []event
	for _, piece := range pieces {
		in := bytes.Clone(piece) // the masks are taken off in it
		for {
			m, rest, err := p.Next(in)
			if err != nil {
				broken, ok := errors.AsType[*websocket.ProtocolError](err)
				if !ok || m.Kind != 0 || broken.Reason == "" {
					t.Fatalf("Next = %+v, %v, want a ProtocolError alone", m, err)
				}
				told = append(told, event{code: broken.Code})
			} else if m.Kind == 0 {
				if len(rest) > 0 || m.Payload != nil {
					t.Fatalf("Next = %+v with %d bytes left", m, len(rest))
				}
				break
			} else {
				told = append(told, event{m.Kind, string(m.Payload), m.Code})
			}
			in = rest
		}
	}
	return told
}

// cuts are ways for bytes to arrive: at once, one by one, and in two pieces cut
// at each place.
func cuts(in []byte) iter.Seq2[string, [][]byte] {
	return func(yield func(string, [][]byte) bool) {
		if !yield("whole", [][]byte{in}) || !yield("byte by byte", slices.Collect(slices.Chunk(in, 1))) {
			return
		}
		for at := 1; at < len(in); at++ {
			if !yield(fmt.Sprintf("cut at %d", at), [][]byte{in[:at], in[at:]}) {
				return
			}
		}
	}
}

// read is what Conn.Read tells of a stream, its end by the stream's end aside.
func read(side websocket.Side, limit int64, in []byte) []event {
	c := websocket.New(script{bytes.NewReader(in)}, side, websocket.Config{MaxMessage: limit})
	defer func() { _ = c.CloseNow() }()
	var told []event
	for {
		kind, p, err := c.Read()
		if err == nil {
			told = append(told, event{kind, string(p), 0})
			continue
		}
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return append(told, event{websocket.Close, closed.Reason, closed.Code})
		}
		if broken, ok := errors.AsType[*websocket.ProtocolError](err); ok {
			return append(told, event{code: broken.Code})
		}
		return told
	}
}

// script is a stream of which the input is known.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }
func (script) Close() error                { return nil }

// asConn is what of a parser's events a Conn tells too.
func asConn(told []event) []event {
	var same []event
	for _, e := range told {
		if e.kind != websocket.Ping && e.kind != websocket.Pong {
			same = append(same, e)
		}
		if e.kind == websocket.Close || e.kind == 0 {
			break
		}
	}
	return same
}

func TestAParserRefusesWhatAConnRefuses(t *testing.T) {
	t.Parallel()
	for _, v := range violations() {
		want := read(websocket.Server, vectorLimit, v.in)
		if n := len(want); n == 0 || want[n-1] != (event{code: v.code}) {
			t.Fatalf("%s: a Conn tells %v", v.name, want)
		}
		for how, pieces := range cuts(v.in) {
			p := websocket.NewParser(websocket.Server, vectorLimit)
			if got := asConn(parse(t, &p, pieces...)); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %v, want %v", v.name, how, got, want)
			}
		}
	}
}

// conversation has every kind of frame in it, and what a parser tells of it.
func conversation(frame func(ws.OpCode, bool, string) []byte) ([]byte, []event) {
	long, longer := strings.Repeat("0123456789abcdef", 8), strings.Repeat("x", 1<<16)
	in := join(
		frame(ws.OpText, true, "hello"),
		frame(ws.OpText, false, "gr\xc3"),
		frame(ws.OpPing, true, "one"),
		frame(ws.OpContinuation, false, ""),
		frame(ws.OpPong, true, ""),
		frame(ws.OpContinuation, true, "\xbc\xc3\x9fe"),
		frame(ws.OpBinary, true, ""),
		frame(ws.OpPing, true, "two"),
		frame(ws.OpBinary, false, ""),
		frame(ws.OpContinuation, true, ""),
		frame(ws.OpBinary, true, long),
		frame(ws.OpText, false, "a"), frame(ws.OpContinuation, false, "b"), frame(ws.OpContinuation, true, "c"),
		frame(ws.OpBinary, true, longer),
		frame(ws.OpClose, true, closeBody(4000, "bye")),
	)
	return in, []event{
		{websocket.Text, "hello", 0},
		{websocket.Ping, "one", 0},
		{websocket.Pong, "", 0},
		{websocket.Text, "grüße", 0},
		{websocket.Binary, "", 0},
		{websocket.Ping, "two", 0},
		{websocket.Binary, "", 0},
		{websocket.Binary, long, 0},
		{websocket.Text, "abc", 0},
		{websocket.Binary, longer, 0},
		{websocket.Close, "bye", 4000},
	}
}

func TestAParserReadsWhatAConnReadsHoweverItIsCut(t *testing.T) {
	t.Parallel()
	for side, frame := range map[websocket.Side]func(ws.OpCode, bool, string) []byte{
		websocket.Server: masked, websocket.Client: plain,
	} {
		in, want := conversation(frame)
		if got := read(side, 0, in); !slices.Equal(got, asConn(want)) {
			t.Fatalf("a Conn tells %v", got)
		}
		// A cut inside the long run of x is like any other there.
		for how, pieces := range cuts(in) {
			if at := len(pieces[0]); at > 1000 && at < len(in)-1000 {
				continue
			}
			p := websocket.NewParser(side, 0)
			if got := parse(t, &p, pieces...); !slices.Equal(got, want) {
				t.Fatalf("side %d, %s: %d events %.200v", side, how, len(got), got)
			}
		}
		wrong := websocket.NewParser(1-side, 0)
		if got := parse(t, &wrong, in[:1000]); len(got) == 0 || got[0] != (event{code: websocket.ProtocolFault}) {
			t.Errorf("the other side's parser tells %v", got)
		}
	}
}

func TestAParserRefusesAsSoonAsItCanTell(t *testing.T) {
	t.Parallel()
	text := masked(ws.OpText, true, "bad \xff and much more")
	for name, c := range map[string]struct {
		in   []byte
		code int
	}{
		"a length over the limit":  {masked(ws.OpBinary, true, strings.Repeat("x", 101))[:6], websocket.MessageTooBig},
		"fragments over the limit": {join(masked(ws.OpBinary, false, strings.Repeat("x", 100)), masked(ws.OpContinuation, false, "x")[:6]), websocket.MessageTooBig},
		"a bad byte":               {text[:len(text)-14], websocket.InvalidPayload},
		"a reserved opcode":        {masked(3, true, strings.Repeat("x", 50))[:6], websocket.ProtocolFault},
	} {
		for how, pieces := range cuts(c.in) {
			p := websocket.NewParser(websocket.Server, 100)
			want := []event{{code: c.code}}
			if got := parse(t, &p, pieces...); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %v, want %v", name, how, got, want)
			}
		}
	}
}

func TestABrokenParserOnlyLooksForTheClose(t *testing.T) {
	t.Parallel()
	bye := masked(ws.OpClose, true, closeBody(1002, "why?"))
	more := join(masked(ws.OpText, true, "ignored"), masked(ws.OpPing, true, ""), bye, masked(ws.OpText, true, "late"))
	for _, v := range violations() {
		in := join(v.in, more)
		for how, pieces := range cuts(in) {
			p := websocket.NewParser(websocket.Server, vectorLimit)
			got := parse(t, &p, pieces...)
			at := slices.IndexFunc(got, func(e event) bool { return e.kind == 0 })
			if at < 0 {
				t.Fatalf("%s, %s: %v", v.name, how, got)
			}
			// Behind a header that is wrong there is no telling frames from payload.
			want := []event{{websocket.Close, "", websocket.NoStatus}}
			if strings.HasPrefix(v.name, "length ") {
				want = nil
			}
			if rest := got[at+1:]; !slices.Equal(rest, want) {
				t.Fatalf("%s, %s: then %v, want %v", v.name, how, rest, want)
			}
		}
	}
}

func TestWhatFollowsACloseIsDropped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want event
	}{
		"with a reason": {closeBody(1001, "bye"), event{websocket.Close, "bye", 1001}},
		"with a code":   {closeBody(1000, ""), event{websocket.Close, "", 1000}},
		"with neither":  {"", event{websocket.Close, "", websocket.NoStatus}},
	} {
		for how, pieces := range cuts(join(masked(ws.OpClose, true, c.body), masked(ws.OpText, true, "late"), []byte{0xff})) {
			p := websocket.NewParser(websocket.Server, 0)
			if got := parse(t, &p, pieces...); !slices.Equal(got, []event{c.want}) {
				t.Errorf("%s, %s: %v", name, how, got)
			}
		}
	}
}

func TestAPayloadThatIsAppendedToLeavesTheRestAlone(t *testing.T) {
	t.Parallel()
	p := websocket.NewParser(websocket.Server, 0)
	m, rest, err := p.Next(join(masked(ws.OpText, true, "one"), masked(ws.OpText, true, "two")))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(m.Payload, "xxxxxxxxxxxxxxxx"...)
	if m, _, err = p.Next(rest); string(m.Payload) != "two" || err != nil {
		t.Errorf("Next = %q, %v", m.Payload, err)
	}
}

func TestAParserIsSmallAndReadsWholeMessagesWithoutMemory(t *testing.T) {
	p := websocket.NewParser(websocket.Server, 0)
	if size := unsafe.Sizeof(p); size > 64 {
		t.Errorf("a Parser is %d bytes", size)
	}
	in := join(masked(ws.OpText, true, "grüße"), masked(ws.OpPing, true, "p"), masked(ws.OpBinary, true, strings.Repeat("x", 300)))
	buf := make([]byte, len(in))
	allocs := testing.AllocsPerRun(100, func() {
		rest := buf[:copy(buf, in)]
		for range 3 {
			m, r, err := p.Next(rest)
			if m.Kind == 0 || err != nil {
				t.Fatal(m, err)
			}
			rest = r
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for three messages", allocs)
	}
}
