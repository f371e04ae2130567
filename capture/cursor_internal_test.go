package capture

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestACursorSurvivesTheWire(t *testing.T) {
	t.Parallel()
	id := randomText(idLen)
	previous := ""
	for _, seq := range []uint64{0, 1, 9, 31, 32, 33, 1023, 1024, 1<<32 + 7, 1<<60 - 1} {
		c := string(appendCursor(nil, id, seq))
		if c <= previous {
			t.Errorf("%q does not sort after %q", c, previous)
		}
		previous = c
		gotID, gotSeq, ok := parseCursor(c)
		if gotID != id || gotSeq != seq || !ok || len(c) > 64 {
			t.Errorf("%q: %q, %d, %v", c, gotID, gotSeq, ok)
		}
	}
	for range 1000 {
		a, b := rand.Uint64N(1<<60), rand.Uint64N(1<<uint(1+rand.IntN(60)))
		if (a < b) != (string(appendCursor(nil, id, a)) < string(appendCursor(nil, id, b))) {
			t.Errorf("%d and %d sort otherwise as cursors", a, b)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	id := strings.Repeat("a", idLen)
	for _, seed := range []string{"", "fl1", "fl1" + id, "fl1" + id + ".0", "fl1" + id + ".11", "fl1" + id + ".201", "fl1" + id + ".c" + strings.Repeat("v", 12), "fl1" + id + ".d" + strings.Repeat("v", 13), "17", "fl2" + id + ".11"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, seq, ok := parseCursor(s)
		if ok && string(appendCursor(nil, id, seq)) != s {
			t.Errorf("%q is read as %q, %d", s, id, seq)
		}
	})
}

func TestTombstonesAreBounded(t *testing.T) {
	t.Parallel()
	var tombs tombs
	hash := func(i int) (h streamHash) {
		h[0], h[1], h[2] = byte(i), byte(i>>8), byte(i>>16)
		return h
	}
	for i := range maxTombs + 10 {
		tombs.add(hash(i), owner{1})
	}
	if len(tombs.owners) != maxTombs || len(tombs.ring) != maxTombs {
		t.Errorf("%d, %d", len(tombs.owners), len(tombs.ring))
	}
	if _, ok := tombs.get(hash(9)); ok {
		t.Error("the oldest is still there")
	}
	if o, ok := tombs.get(hash(10)); !ok || o != (owner{1}) {
		t.Error("a younger one is gone")
	}
}
