package sse

import (
	"bytes"
	"time"
)

// Block is one block of a stream as it came, from its first byte to its blank
// line included, and what it does to a reader. Its slices are valid until the
// next call of a method of the Splitter that returned it.
type Block struct {
	// Raw is every byte of the block, line ends as they were.
	Raw []byte
	// HasData tells that a reader dispatches an event: there is a data line.
	HasData bool
	// HasID tells that the block sets the reader's last event id, to ID,
	// which may be empty. An id line that holds NUL does not count.
	HasID bool
	// ID is the value of the last valid id line.
	ID []byte
	// HasRetry tells that the block sets the reconnection time, to Retry.
	HasRetry bool
	// Retry is the value of the last valid retry line.
	Retry time.Duration
	// CommentOnly tells that the block has no field at all: only comments,
	// or nothing but its blank line. Unknown fields count as fields.
	CommentOnly bool
}

// Splitter cuts a stream into whole blocks without changing them, for a proxy
// or recorder. It is fed pieces of any size:
//
//	s.Feed(piece)
//	for b, ok := s.Next(); ok; b, ok = s.Next() {
//		// b.Raw
//	}
//	if err := s.Err(); err != nil { ... }
//
// A block is complete at the CR or LF that ends its blank line, so it never
// waits for the byte that follows. When that byte turns out to be the LF of a
// CR LF and comes in a later piece, it is swallowed: the block is already out.
// A leading byte order mark is dropped too. Nothing else is, and where the
// pieces are cut changes nothing else.
//
// The zero value is ready. A Splitter is not safe for concurrent use.
type Splitter struct {
	// Max is the largest block, in bytes, blank line included (an LF that
	// completes a CR LF at its end is not counted). At most that and one
	// piece are held. Zero: DefaultMax.
	Max int

	window []byte // what was fed and not yet returned, or the caller's piece
	own    []byte // memory for the window when it is not the caller's
	owned  bool   // the window is in own
	start  int    // where the open block begins in the window
	line   int    // where its open line begins
	lines  lines
	begun  bool  // a leading byte order mark is behind us
	sawCR  bool  // the byte before line ended a line and is a CR
	block  Block // what is known of the open block
	fields bool  // it has a field
	idFrom int   // where block.ID begins and ends, counted from start
	idTo   int
	err    error
}

// Feed adds a piece of the stream. The piece is read in place and must stay as
// it is until Next has returned false; after that it is the caller's again.
func (s *Splitter) Feed(piece []byte) {
	if s.err != nil {
		return
	}
	if s.start == len(s.window) {
		if cap(s.own) > keepBuffer {
			s.own = nil
		}
		s.lines.drop(s.start)
		s.window, s.owned, s.start, s.line = piece, false, 0, 0
		return
	}
	s.keep()
	s.own = append(s.own, piece...)
	s.window = s.own
}

// keepBuffer is the largest buffer, in bytes, that is kept between blocks.
const keepBuffer = 64 << 10

// keep moves the open block to the start of memory of the Splitter's own.
func (s *Splitter) keep() {
	if s.owned && s.start == 0 {
		return
	}
	s.own = append(s.own[:0], s.window[s.start:]...)
	s.lines.drop(s.start)
	s.line -= s.start
	s.start = 0
	s.window, s.owned = s.own, true
}

// Next returns the next whole block, and false when the bytes fed so far hold
// no further one or after an error (see Err).
func (s *Splitter) Next() (Block, bool) {
	if s.err != nil || !s.begin() {
		return Block{}, false
	}
	for {
		if s.sawCR && s.line < len(s.window) {
			s.sawCR = false
			if s.window[s.line] == '\n' {
				s.line++
				if s.start == s.line-1 { // its block went out at the CR
					s.start = s.line
				}
			}
		}
		end := s.lines.end(s.window, s.line)
		if end < 0 {
			s.wait()
			return Block{}, false
		}
		line := s.window[s.line:end]
		s.sawCR = s.window[end] == '\r'
		if len(line) == 0 {
			return s.finish(end + 1)
		}
		s.note(line)
		s.line = end + 1
	}
}

// begin drops a leading byte order mark; false: it may still be one.
func (s *Splitter) begin() bool {
	if s.begun {
		return true
	}
	n := min(len(s.window), len(bom))
	if string(s.window[:n]) != bom[:n] {
		n = 0
	} else if n < len(bom) {
		s.keep()
		return false
	}
	s.begun = true
	s.start, s.line = n, n
	return true
}

// wait keeps the open block, so that the caller's piece is the caller's again.
func (s *Splitter) wait() {
	if len(s.window)-s.start > s.max() {
		s.fail()
		return
	}
	if s.start < len(s.window) {
		s.keep()
		return
	}
	s.lines.drop(s.start)
	s.window, s.start, s.line = nil, 0, 0
}

func (s *Splitter) max() int {
	if s.Max > 0 {
		return s.Max
	}
	return DefaultMax
}

func (s *Splitter) fail() {
	s.err = ErrTooLarge
	s.window, s.own, s.start, s.line = nil, nil, 0, 0
}

// note takes down what a line that is not blank does to a reader.
func (s *Splitter) note(line []byte) {
	if line[0] == ':' {
		return
	}
	s.fields = true
	switch line[0] {
	case 'd':
		if _, ok := value(line, "data"); ok {
			s.block.HasData = true
		}
	case 'i':
		if v, ok := value(line, "id"); ok && bytes.IndexByte(v, 0) < 0 {
			s.block.HasID = true
			s.idTo = s.line - s.start + len(line)
			s.idFrom = s.idTo - len(v)
		}
	case 'r':
		if v, ok := value(line, "retry"); ok {
			if retry, ok := parseRetry(v); ok {
				s.block.HasRetry, s.block.Retry = true, retry
			}
		}
	}
}

// finish returns the block that ends before end, with the LF that completes a
// CR LF there when it has already arrived.
func (s *Splitter) finish(end int) (Block, bool) {
	if end-s.start > s.max() {
		s.fail()
		return Block{}, false
	}
	if s.sawCR && end < len(s.window) {
		s.sawCR = false
		if s.window[end] == '\n' {
			end++
		}
	}
	b := s.block
	b.Raw = s.window[s.start:end:end]
	b.CommentOnly = !s.fields
	if b.HasID {
		b.ID = b.Raw[s.idFrom:s.idTo:s.idTo]
	}
	s.block, s.fields = Block{}, false
	s.start, s.line = end, end
	return b, true
}

// Pending returns how many bytes of an incomplete block have been fed.
func (s *Splitter) Pending() int { return len(s.window) - s.start }

// Err returns ErrTooLarge once a block was larger than Max, and otherwise nil.
// Nothing can be read after that.
func (s *Splitter) Err() error { return s.err }
