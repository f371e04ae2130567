package fairlead

import (
	"strings"
)

// Cursor is a position in one topic: "after this event". To users it is
// opaque. It is URL-safe, at most 27 bytes, and names the life of the topic
// it is from, so that a cursor of a removed or lost topic is recognised.
// Within one topic cursors sort as strings, in the order of the log.
//
// Its form is the life (13 characters), then the sequence number (a character
// for its length and then its digits), both in lower-case base32hex.
type Cursor string

// Start positions that stand in the place of a cursor.
const (
	Earliest Cursor = "earliest" // everything that is retained, then live
	Latest   Cursor = "latest"   // only what is published from now on
	Snapshot Cursor = "snapshot" // the current value of each key, then live
)

const digits = "0123456789abcdefghijklmnopqrstuv"

// lifeDigits is how many base32 digits hold 64 bits.
const lifeDigits = 13

// NewCursor returns the cursor for the position after the event number seq
// of the life given; seq 0 is the position before the first event.
func NewCursor(life, seq uint64) Cursor {
	var b [lifeDigits + 1 + lifeDigits]byte
	for i := lifeDigits - 1; i >= 0; i-- {
		b[i] = digits[life&31]
		life >>= 5
	}
	n, at := 0, len(b)
	for ; seq > 0; n++ {
		at--
		b[at] = digits[seq&31]
		seq >>= 5
	}
	b[lifeDigits] = digits[n]
	copy(b[lifeDigits+1:], b[at:])
	return Cursor(b[:lifeDigits+1+n])
}

// Parse splits a cursor into the life of its topic and the number of the
// event it stands after. The start words and anything malformed are an
// [Error] of code [InvalidArgument].
func (c Cursor) Parse() (life, seq uint64, err error) {
	bad := Errorf(InvalidArgument, "not a cursor of this server: use one from an event's id, or earliest, latest or snapshot")
	if len(c) < lifeDigits+1 || strings.IndexByte(digits, c[lifeDigits]) != len(c)-lifeDigits-1 {
		return 0, 0, bad
	}
	life, ok := parseDigits(string(c[:lifeDigits]))
	if !ok {
		return 0, 0, bad
	}
	seq, ok = parseDigits(string(c[lifeDigits+1:]))
	if !ok || NewCursor(life, seq) != c {
		return 0, 0, bad
	}
	return life, seq, nil
}

// IsWord reports whether c is a start position and not a cursor.
func (c Cursor) IsWord() bool { return c == Earliest || c == Latest || c == Snapshot }

func parseDigits(s string) (n uint64, ok bool) {
	for i := range len(s) {
		d := strings.IndexByte(digits, s[i])
		if d < 0 {
			return 0, false
		}
		n = n<<5 | uint64(d)
	}
	return n, true
}
