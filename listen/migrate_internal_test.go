package listen

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

func TestADatagramComesThroughThePairAsItWent(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"192.0.2.1:443", "[2001:db8::1]:65535"} {
		p := passed{from: netip.MustParseAddrPort(from), scope: 7, control: []byte("control"), payload: []byte("payload")}
		got, ok := parsePassed(p.appendTo(nil))
		if !ok || !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, want %+v", got, p)
		}
	}
}

func TestAConnectionIDSaysWhoseADatagramIs(t *testing.T) {
	t.Parallel()
	g := connIDs{newMark(nil)}
	id, err := g.GenerateConnectionID()
	if err != nil || id.Len() != g.ConnectionIDLen() {
		t.Fatal(id, err)
	}
	long := slices.Concat([]byte{0xe0, 0, 0, 0, 1, connIDLen}, id.Bytes(), []byte("more"))
	for name, c := range map[string]struct {
		datagram  []byte
		short, ok bool
	}{
		"short header":           {slices.Concat([]byte{0x40}, id.Bytes(), []byte("more")), true, true},
		"long header":            {long, false, true},
		"a client's first":       {slices.Concat([]byte{0xc0, 0, 0, 0, 1, 8}, id.Bytes()), false, false},
		"a cut short header":     {append([]byte{0x40}, id.Bytes()[:10]...), true, false},
		"a cut long header":      {long[:10], false, false},
		"the first of a header":  {long[:4], false, false},
		"a datagram of no bytes": {nil, false, false},
	} {
		m, short, ok := markOf(c.datagram)
		if short != c.short || ok != c.ok || ok && m != g.mark {
			t.Errorf("%s: %v %t %t", name, m, short, ok)
		}
	}
}

func TestMarksAreReadBackAndBounded(t *testing.T) {
	t.Parallel()
	var before []mark
	for range 100 {
		before = append(before, newMark(before))
	}
	got, ok := parseMarks(marksMessage(mark{1, 2}, before))
	if !ok || len(got) != maxMarks || got[0] != (mark{1, 2}) || got[1] != before[0] {
		t.Errorf("%d marks, %v, %t", len(got), got, ok)
	}
	for _, b := range [][]byte{nil, {1}, {1, 2, 3}, make([]byte, 2*maxMarks+2)} {
		if _, ok = parseMarks(b); ok {
			t.Errorf("%d bytes are marks", len(b))
		}
	}
}

func FuzzWhatComesThroughThePair(f *testing.F) {
	p := passed{from: netip.MustParseAddrPort("192.0.2.1:443"), control: []byte("c"), payload: []byte("p")}
	f.Add(p.appendTo(nil))
	f.Add(marksMessage(mark{1, 2}, []mark{{3, 4}}))
	f.Add([]byte{0xe0, 0, 0, 0, 1, connIDLen, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parsePassed(b); ok {
			if again, ok := parsePassed(p.appendTo(nil)); !ok || !reflect.DeepEqual(again, p) {
				t.Errorf("%+v became %+v", p, again)
			}
		}
		if marks, ok := parseMarks(b); ok && !bytes.Equal(marksMessage(marks[0], marks[1:]), b) {
			t.Errorf("%v of %x", marks, b)
		}
		if m, _, ok := markOf(b); ok && !bytes.Contains(b, m[:]) {
			t.Errorf("mark %v of %x", m, b)
		}
	})
}
