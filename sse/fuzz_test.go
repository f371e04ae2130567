package sse_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

// pieces cuts in where the bytes of cuts say, in turn.
type pieces struct {
	in, cuts []byte
	turn     int
}

func (p *pieces) next(most int) []byte {
	n := min(len(p.in), most)
	if len(p.cuts) > 0 {
		n = min(n, 1+int(p.cuts[p.turn%len(p.cuts)]))
		p.turn++
	}
	piece := p.in[:n]
	p.in = p.in[n:]
	return piece
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(buf, p.next(len(buf)))
	return n, nil
}

func seed(f *testing.F) {
	f.Helper()
	for _, g := range grammar {
		f.Add([]byte(g.in), []byte{0})
		f.Add([]byte(g.in), []byte{2, 0, 5})
	}
}

// FuzzDecoder: how a stream is cut into reads changes nothing.
func FuzzDecoder(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		whole, cut := sse.NewDecoder(bytes.NewReader(in)), sse.NewDecoder(&pieces{in: in, cuts: cuts})
		whole.Max, cut.Max = 64, 64
		want, wantErr := drain(whole)
		got, err := drain(cut)
		if !slices.Equal(got, want) || !errors.Is(err, wantErr) || cut.LastEventID() != whole.LastEventID() {
			t.Errorf("%q cut by %v: %v, %v; whole: %v, %v", in, cuts, got, err, want, wantErr)
		}
	})
}

// FuzzSplitter: the blocks joined are the stream, but for a byte order mark and
// LFs that were swallowed; each says what it does to a reader; and how the
// stream is cut into pieces changes nothing else.
func FuzzSplitter(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in, cuts []byte) {
		var joined, rest []byte
		var s, again sse.Splitter
		s.Max, again.Max = 64, 64
		again.Feed(bytes.Clone(in))
		for p := (&pieces{in: in, cuts: cuts}); len(p.in) > 0; {
			piece := bytes.Clone(p.next(len(in)))
			s.Feed(piece)
			for b, ok := s.Next(); ok; b, ok = s.Next() {
				joined = append(joined, b.Raw...)
				checkBlock(t, b)
				same, ok := again.Next()
				raw := same.Raw
				if bytes.HasSuffix(raw, []byte("\r\n")) && bytes.HasSuffix(b.Raw, []byte("\r")) {
					raw = raw[:len(raw)-1]
				}
				if !ok || !bytes.Equal(raw, b.Raw) {
					t.Fatalf("%q cut by %v: block %q; whole: %q", in, cuts, b.Raw, same.Raw)
				}
				b.Raw, same.Raw = nil, nil
				if describe(b) != describe(same) {
					t.Fatalf("%q cut by %v: %s; whole: %s", in, cuts, describe(b), describe(same))
				}
			}
			clear(piece) // a caller may do so now
		}
		if b, ok := again.Next(); ok {
			t.Fatalf("%q cut by %v: block %q is missing", in, cuts, b.Raw)
		}
		if !errors.Is(s.Err(), again.Err()) || s.Pending() != again.Pending() {
			t.Fatalf("%q cut by %v: %v, %d pending; whole: %v, %d", in, cuts, s.Err(), s.Pending(), again.Err(), again.Pending())
		}
		if s.Err() != nil {
			return
		}
		rest = in[len(in)-s.Pending():]
		want, _ := drain(sse.NewDecoder(bytes.NewReader(in)))
		// Without its mark a stream could begin with a second one.
		mark := []byte("\xEF\xBB\xBF")
		if !bytes.HasPrefix(in, mark) {
			mark = nil
		}
		got, _ := drain(sse.NewDecoder(io.MultiReader(bytes.NewReader(mark), bytes.NewReader(joined), bytes.NewReader(rest))))
		if !slices.Equal(got, want) {
			t.Errorf("%q cut by %v: joined %v, whole %v", in, cuts, got, want)
		}
	})
}

// checkBlock compares what b says with what a decoder makes of it.
func checkBlock(t *testing.T, b sse.Block) {
	t.Helper()
	// A blank line before the block keeps a byte order mark from being one.
	d := sse.NewDecoder(io.MultiReader(bytes.NewReader([]byte("\n")), bytes.NewReader(b.Raw)))
	d.Resume("before")
	events, err := drain(d)
	if !errors.Is(err, io.EOF) {
		t.Errorf("block %q is not whole: %v", b.Raw, err)
	}
	if (len(events) == 1) != b.HasData || len(events) > 1 {
		t.Errorf("block %q: data %v, events %v", b.Raw, b.HasData, events)
	}
	id := "before"
	if b.HasID {
		id = string(b.ID)
	}
	if d.LastEventID() != id {
		t.Errorf("block %q: id %q, decoder %q", b.Raw, id, d.LastEventID())
	}
	if retry, ok := d.Retry(); ok != b.HasRetry || retry != b.Retry {
		t.Errorf("block %q: retry %v %v, decoder %v %v", b.Raw, b.Retry, b.HasRetry, retry, ok)
	}
	if b.CommentOnly && (b.HasData || b.HasID || b.HasRetry) {
		t.Errorf("block %q: only comments, yet %s", b.Raw, describe(b))
	}
}

// FuzzRoundTrip: what is encoded is decoded, and nothing beside it.
func FuzzRoundTrip(f *testing.F) {
	f.Add("1", "tick", []byte("a\r\nb\rc\n"), int64(1500))
	f.Add("", "", []byte(nil), int64(0))
	f.Add("\n", "\x00", []byte("data: x\n\n"), int64(-1))
	f.Fuzz(func(t *testing.T, id, typ string, data []byte, ms int64) {
		retry := time.Duration(ms%(1<<40)) * time.Millisecond
		e := sse.Event{ID: id, Type: typ, Data: data, Retry: retry}
		frame, err := sse.Append(nil, e)
		if err != nil {
			return
		}
		d := sse.NewDecoder(bytes.NewReader(frame))
		d.Max = len(frame)
		got, err := d.Next()
		if err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		want := bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		if got.ID != id || got.HasID != (id != "") || got.Type != typ || !bytes.Equal(got.Data, want) || got.Retry != max(retry, 0) {
			t.Errorf("%+v became %+v", e, got)
		}
		if _, err := d.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v after its event", frame, err)
		}
	})
}
