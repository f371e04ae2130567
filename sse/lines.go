package sse

import (
	"bytes"
	"math"
	"time"
)

const bom = "\xEF\xBB\xBF"

// lines finds line ends in a growing window of bytes. It scans each byte at
// most once for LF and once for CR, however long the lines and however many
// pieces the window grew by.
type lines struct{ lf, cr mark }

// mark is how far the search for one byte has come.
type mark struct {
	next int // one more than the index of the last one found; 0: none yet
	seen int // no unreported one stands before this index
}

// end returns the index of the byte that ends the line beginning at start in
// window, or -1 when the window holds no line end yet.
func (l *lines) end(window []byte, start int) int {
	lf := l.lf.find(window, '\n', start)
	cr := l.cr.find(window, '\r', start)
	if lf < 0 || cr >= 0 && cr < lf {
		return cr
	}
	return lf
}

// find returns the index of the first c at or after start, or -1.
func (m *mark) find(window []byte, c byte, start int) int {
	if m.next <= start {
		from := max(start, m.seen)
		i := bytes.IndexByte(window[from:], c)
		if i < 0 {
			m.seen = len(window)
			return -1
		}
		m.next = from + i + 1
	}
	return m.next - 1
}

// drop tells that the first n bytes left the window.
func (l *lines) drop(n int) {
	l.lf.drop(n)
	l.cr.drop(n)
}

func (m *mark) drop(n int) {
	m.next = max(m.next-n, 0)
	m.seen = max(m.seen-n, 0)
}

// value returns the value of a line's field when its name is the one given
// (WHATWG HTML §9.2.6): what follows the colon and at most one space.
func value(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || string(line[:len(name)]) != name {
		return nil, false
	}
	v := line[len(name):]
	if len(v) == 0 {
		return v, true
	}
	if v[0] != ':' {
		return nil, false
	}
	if len(v) > 1 && v[1] == ' ' {
		return v[2:], true
	}
	return v[1:], true
}

// parseRetry returns the reconnection time of a retry line's value: ASCII
// digits only, in milliseconds. What a Duration cannot hold is cut to its
// largest.
func parseRetry(v []byte) (time.Duration, bool) {
	const most = int64(math.MaxInt64 / time.Millisecond)
	if len(v) == 0 {
		return 0, false
	}
	var ms int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int64(c-'0'), most)
	}
	return time.Duration(ms) * time.Millisecond, true
}
