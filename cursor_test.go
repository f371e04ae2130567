package fairlead_test

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"pgregory.net/rapid"
)

// numbers are those around every change of a cursor's length.
func numbers() []uint64 {
	all := []uint64{0, 1, math.MaxUint64}
	for shift := 5; shift < 64; shift += 5 {
		all = append(all, 1<<shift-1, 1<<shift, 1<<shift+1)
	}
	slices.Sort(all)
	return all
}

func TestACursorIsReadBackAsItWasMade(t *testing.T) {
	t.Parallel()
	for _, life := range numbers() {
		for _, seq := range numbers() {
			c := fairlead.NewCursor(life, seq)
			gotLife, gotSeq, err := c.Parse()
			if err != nil || gotLife != life || gotSeq != seq {
				t.Fatalf("%s of %d, %d is read as %d, %d, %v", c, life, seq, gotLife, gotSeq, err)
			}
			if len(c) > 27 || url.QueryEscape(string(c)) != string(c) || c.IsWord() {
				t.Fatalf("%s is longer than 27 bytes, not safe in a URL, or a word", c)
			}
		}
	}
}

func TestCursorsSortAsTheirNumbersDo(t *testing.T) {
	t.Parallel()
	var sorted []fairlead.Cursor
	for _, seq := range numbers() {
		sorted = append(sorted, fairlead.NewCursor(7, seq))
	}
	if !slices.IsSorted(sorted) {
		t.Errorf("not sorted as strings: %q", sorted)
	}
	rapid.Check(t, func(t *rapid.T) {
		life, a, b := rapid.Uint64().Draw(t, "life"), rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		if less := fairlead.NewCursor(life, a) < fairlead.NewCursor(life, b); less != (a < b) {
			t.Fatalf("%d < %d is %v of their cursors", a, b, less)
		}
	})
}

func TestWhatIsNoCursorIsAnInvalidArgument(t *testing.T) {
	t.Parallel()
	good := fairlead.NewCursor(1<<40, 1000)
	for _, bad := range []fairlead.Cursor{
		"", "0", fairlead.Earliest, fairlead.Latest, fairlead.Snapshot, "EARLIEST", good[:len(good)-1], good + "0", good[1:],
		"0000000000000" + "3" + "00v", // leading zeros: a second name of the same place
		"0000000000000" + "v" + "0",
		"000000000000Z" + "11",
		"g000000000000" + "11",            // a life of more than 64 bits
		"0000000000000d" + "g00000000000", // a length that its digits do not have
		"0000000000000d" + "g000000000000",
		"0000000000000" + "1 ", "0000000000000" + "1\n", "ééééééééééééé1é",
	} {
		_, _, err := bad.Parse()
		var e *fairlead.Error
		if !errors.As(err, &e) || e.Code != fairlead.InvalidArgument {
			t.Errorf("%q is read without an error of its code: %v", bad, err)
		}
	}
}

func FuzzCursorParse(f *testing.F) {
	for _, n := range numbers() {
		f.Add(string(fairlead.NewCursor(n, n)))
	}
	f.Add("earliest")
	f.Add("0000000000000000")
	f.Fuzz(func(t *testing.T, s string) {
		life, seq, err := fairlead.Cursor(s).Parse()
		if err == nil && string(fairlead.NewCursor(life, seq)) != s {
			t.Fatalf("%q is read as %d, %d, which is written as %q", s, life, seq, fairlead.NewCursor(life, seq))
		}
	})
}
