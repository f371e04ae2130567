package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/sse"
)

func TestABlockKeepsItsBytesAndSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string // see describe
	}{
		{"data: a\n\n", []string{`"data: a\n\n" data`}},
		{"data: a\r\n\r\ndata: b\r\n\r\n", []string{`"data: a\r\n\r\n" data`, `"data: b\r\n\r\n" data`}},
		{"data: a\r\rdata: b\r\r", []string{`"data: a\r\r" data`, `"data: b\r\r" data`}},
		{"data: a\n\r\ndata: b\r\n\n", []string{`"data: a\n\r\n" data`, `"data: b\r\n\n" data`}},
		{"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n", []string{`"data: a\n\n" data`, `"\ufeffdata: b\n\n"`}},
		{": a\n\n", []string{`": a\n\n" comment`}},
		{": a\n: b\ndata\n\n", []string{`": a\n: b\ndata\n\n" data`}},
		{"\n\n", []string{`"\n" comment`, `"\n" comment`}},
		{"foo: bar\n\n", []string{`"foo: bar\n\n"`}},
		{"event: a\n\n", []string{`"event: a\n\n"`}},
		{"id: 1\nretry: 2\n\n", []string{`"id: 1\nretry: 2\n\n" id="1" retry=2ms`}},
		{"id: 1\nid: 2\ndata: a\n\n", []string{`"id: 1\nid: 2\ndata: a\n\n" data id="2"`}},
		{"id: 1\nid: \x00\ndata: a\n\n", []string{`"id: 1\nid: \x00\ndata: a\n\n" data id="1"`}},
		{"id\ndata: a\n\n", []string{`"id\ndata: a\n\n" data id=""`}},
		{"idx: 1\ndatum: a\nretry: x\n\n", []string{`"idx: 1\ndatum: a\nretry: x\n\n"`}},
		{"data: a\n", nil},
	} {
		var s sse.Splitter
		got, err := split(&s, []byte(c.in), len(c.in))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

func TestABlockThatEndsInCRIsOutAtOnce(t *testing.T) {
	t.Parallel()
	var s sse.Splitter
	s.Feed([]byte("data: a\r\n\r"))
	if b, ok := s.Next(); !ok || string(b.Raw) != "data: a\r\n\r" {
		t.Fatalf("%q, %v", b.Raw, ok)
	}
	if _, ok := s.Next(); ok || s.Pending() != 0 {
		t.Error("something is left")
	}
	s.Feed([]byte("\n"))
	if b, ok := s.Next(); ok {
		t.Errorf("the LF of the CR LF came out as %q", b.Raw)
	}
	s.Feed([]byte("\ndata: b\r"))
	if b, ok := s.Next(); !ok || string(b.Raw) != "\n" {
		t.Errorf("a second LF is a blank line: %q, %v", b.Raw, ok)
	}
	if _, ok := s.Next(); ok || s.Pending() != len("data: b\r") {
		t.Errorf("pending %d", s.Pending())
	}
	s.Feed([]byte("\n\n"))
	if b, ok := s.Next(); !ok || string(b.Raw) != "data: b\r\n\n" {
		t.Errorf("%q, %v", b.Raw, ok)
	}
}

func TestTheCutOfThePiecesChangesNoBlock(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	all.WriteString("\xEF\xBB\xBF")
	for _, g := range grammar {
		all.WriteString(g.in)
	}
	in := []byte(all.String())
	var whole sse.Splitter
	want, _ := split(&whole, in, len(in))
	for size := 1; size < 64; size++ {
		var s sse.Splitter
		got, err := split(&s, in, size)
		if err != nil || len(got) != len(want) {
			t.Fatalf("pieces of %d: %d blocks, %v; want %d", size, len(got), err, len(want))
		}
		for i := range got {
			if got[i] != want[i] && got[i] != strings.Replace(want[i], `\r\n" `, `\r" `, 1) && got[i] != strings.TrimSuffix(want[i], `\n"`)+`"` {
				t.Errorf("pieces of %d: block %d is %s, want %s", size, i, got[i], want[i])
			}
		}
		if s.Pending() != whole.Pending() {
			t.Errorf("pieces of %d: %d bytes pending, want %d", size, s.Pending(), whole.Pending())
		}
	}
}

func TestABlockOverTheLimitEndsTheSplitter(t *testing.T) {
	t.Parallel()
	const in = "data: 1\n\n: 2345678\r\n\r\ndata: 34\n\ndata: 4\n\n"
	for size := 1; size <= len(in); size++ {
		s := sse.Splitter{Max: len(": 2345678\r\n\r")}
		if got, err := split(&s, []byte(in), size); err != nil || len(got) != 4 {
			t.Errorf("pieces of %d: %v, %v; want four blocks at the limit", size, got, err)
		}
		s = sse.Splitter{Max: len(": 2345678\r\n\r") - 1}
		if got, err := split(&s, []byte(in), size); !errors.Is(err, sse.ErrTooLarge) || len(got) != 1 {
			t.Errorf("pieces of %d: %v, %v; want one block, then ErrTooLarge", size, got, err)
		}
		if s.Feed([]byte("data: x\n\n")); s.Err() == nil {
			t.Error("the error did not stay")
		}
		if b, ok := s.Next(); ok {
			t.Errorf("%q after the error", b.Raw)
		}
	}
}

// split feeds in to s in pieces of a size, each in memory that is overwritten
// afterwards, and returns the blocks as describe has them.
func split(s *sse.Splitter, in []byte, size int) ([]string, error) {
	var got []string
	piece := make([]byte, size)
	for len(in) > 0 {
		n := copy(piece, in)
		in = in[n:]
		s.Feed(piece[:n])
		for b, ok := s.Next(); ok; b, ok = s.Next() {
			got = append(got, describe(b))
		}
		copy(piece, bytes.Repeat([]byte("\n"), size))
	}
	return got, s.Err()
}

func describe(b sse.Block) string {
	s := fmt.Sprintf("%q", b.Raw)
	if b.HasData {
		s += " data"
	}
	if b.HasID {
		s += fmt.Sprintf(" id=%q", b.ID)
	}
	if b.HasRetry {
		s += fmt.Sprintf(" retry=%v", b.Retry)
	}
	if b.CommentOnly {
		s += " comment"
	}
	return s
}
