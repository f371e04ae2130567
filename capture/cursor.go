package capture

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

// A cursor of a captured event is
//
//	fl1 LIFE RANDOM . POSITION
//
// where LIFE (6 characters) is of the Store and RANDOM (22) is 128 random bits
// in base64url; both together are the stream's id. POSITION is a digit for its
// own length and the event's number in base32hex, so that the cursors of one
// stream sort as strings.
const (
	cursorMark = "fl1"
	lifeLen    = 6
	idLen      = lifeLen + 22
	digits     = "0123456789abcdefghijklmnopqrstuv"
	// maxDigits holds 60 bits: at a million events a second, 36,000 years.
	maxDigits = 12
	// maxCursor is the longest cursor in bytes.
	maxCursor = len(cursorMark) + idLen + 1 + 1 + maxDigits
)

// randomText returns n characters of base64url, 6 random bits each.
func randomText(n int) string {
	b := make([]byte, (n*6+7)/8)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// appendCursor appends the cursor of event seq of the stream id.
func appendCursor(dst []byte, id string, seq uint64) []byte {
	dst = append(dst, cursorMark...)
	dst = append(dst, id...)
	var b [1 + maxDigits]byte
	at := len(b)
	for ; seq > 0 && at > 1; seq >>= 5 {
		at--
		b[at] = digits[seq&31]
	}
	dst = append(dst, '.', digits[len(b)-at])
	return append(dst, b[at:]...)
}

// parseCursor splits a cursor of this package into the id of its stream and
// the number of the event it stands after; false: it is something else.
func parseCursor(s string) (id string, seq uint64, ok bool) {
	const head = len(cursorMark) + idLen
	if len(s) < head+2 || len(s) > maxCursor || s[:len(cursorMark)] != cursorMark || s[head] != '.' {
		return "", 0, false
	}
	id = s[len(cursorMark):head]
	position := s[head+1:]
	if !validID(id) || strings.IndexByte(digits, position[0]) != len(position)-1 {
		return "", 0, false
	}
	for i, c := range []byte(position[1:]) {
		d := strings.IndexByte(digits, c)
		if d < 0 || d == 0 && i == 0 {
			return "", 0, false
		}
		seq = seq<<5 | uint64(d)
	}
	return id, seq, true
}

// validID reports whether s has the form of a stream's id.
func validID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// lifeOf returns which Store an id is from.
func lifeOf(id string) string { return id[:lifeLen] }

// number returns the event's number in its log.
func number(c fairlead.Cursor) uint64 {
	_, seq, err := c.Parse()
	if err != nil {
		panic(err) // the log's own cursors parse
	}
	return seq
}
