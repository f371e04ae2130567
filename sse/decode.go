package sse

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// ErrIncomplete means that a stream ended cleanly but inside an event, which is
// discarded as WHATWG HTML §9.2.6 demands. It wraps io.ErrUnexpectedEOF.
var ErrIncomplete = fmt.Errorf("sse: stream ended inside an event: %w", io.ErrUnexpectedEOF)

// Decoder reads events from a stream by the rules of WHATWG HTML §9.2.6. An
// event is returned as soon as the CR or LF that ends its blank line is there.
// Bytes that are not UTF-8 pass as they are. A Decoder is not safe for
// concurrent use and starts no goroutine.
type Decoder struct {
	// Max bounds what is held for one event, in bytes: its data so far and
	// the line being read. Set it before the first Next. Zero: DefaultMax.
	Max int

	r       io.Reader
	readErr error  // ended r; returned when the window is used up
	window  []byte // what was read and not yet used
	line    int    // where the open line begins in the window
	lines   lines
	begun   bool // a leading byte order mark is behind us
	sawCR   bool // the byte before line ended a line and is a CR

	event  Event // the open event, its Data kept in data
	data   []byte
	some   bool // the open event has a data line
	fields bool // it has a line that is not a comment

	lastID   string
	retry    time.Duration
	hasRetry bool
	lastType string
}

// NewDecoder returns a Decoder of r. It reads ahead of the event it returns.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: r} }

// Next returns the next event; its Data is the caller's. Event.ID and HasID are
// those of the event's own id line; LastEventID has the id that counts for a
// reader. A block without a data line is no event, but its id and retry lines
// take effect.
//
// The error is io.EOF at a clean end, ErrIncomplete when the stream ended
// inside an event, ErrTooLarge, or one that wraps the reader's. It is final.
func (d *Decoder) Next() (Event, error) {
	for {
		line, ok := d.nextLine()
		switch {
		case ok && len(line) > 0:
			d.take(line)
		case ok:
			if e, ok := d.dispatch(); ok {
				return e, nil
			}
		case d.readErr != nil:
			return Event{}, d.finish()
		default:
			d.fill()
		}
	}
}

// LastEventID returns the id to resume after, as of the last event returned: a
// reconnect sends it as Last-Event-ID, unless it is empty.
func (d *Decoder) LastEventID() string { return d.lastID }

// Resume sets the id that the stream was asked to continue after: LastEventID
// returns it until the stream carries another. Call it before the first Next.
func (d *Decoder) Resume(lastEventID string) { d.lastID = lastEventID }

// Retry returns the reconnection time that the stream last asked for; false:
// it did not.
func (d *Decoder) Retry() (time.Duration, bool) { return d.retry, d.hasRetry }

// nextLine returns the next line of the window, without its end; false: more
// must be read, or, with readErr set, there is none.
func (d *Decoder) nextLine() ([]byte, bool) {
	if !d.begun && !d.begin() {
		return nil, false
	}
	if d.sawCR && d.line < len(d.window) {
		d.sawCR = false
		if d.window[d.line] == '\n' {
			d.line++
		}
	}
	end := d.lines.end(d.window, d.line)
	seen := end
	if end < 0 {
		seen = len(d.window)
	}
	if seen-d.line+len(d.data) > d.max() {
		d.readErr = ErrTooLarge
		d.window, d.data, d.line, d.lines = nil, nil, 0, lines{}
		return nil, false
	}
	if end < 0 {
		return nil, false
	}
	line := d.window[d.line:end]
	d.sawCR = d.window[end] == '\r'
	d.line = end + 1
	return line, true
}

// begin skips a leading byte order mark; false: it may still become one.
func (d *Decoder) begin() bool {
	n := min(len(d.window), len(bom))
	switch {
	case string(d.window[:n]) != bom[:n]:
	case n == len(bom):
		d.line = n
	case d.readErr == nil:
		return false
	}
	d.begun = true
	return true
}

func (d *Decoder) max() int {
	if d.Max > 0 {
		return d.Max
	}
	return DefaultMax
}

// take applies a line that is not blank to the open event.
func (d *Decoder) take(line []byte) {
	if line[0] == ':' {
		return
	}
	d.fields = true
	if v, ok := value(line, "data"); ok {
		if d.some {
			d.data = append(d.data, '\n')
		}
		d.data = append(d.data, v...)
		d.some = true
		return
	}
	if v, ok := value(line, "id"); ok && bytes.IndexByte(v, 0) < 0 {
		d.event.ID, d.event.HasID = string(v), true
		return
	}
	if v, ok := value(line, "event"); ok {
		if string(v) != d.lastType { // most streams repeat one type: one string serves
			d.lastType = string(v)
		}
		d.event.Type = d.lastType
		return
	}
	if v, ok := value(line, "retry"); ok {
		if retry, ok := parseRetry(v); ok {
			d.retry, d.hasRetry = retry, true
			d.event.Retry = retry
		}
	}
}

// dispatch ends the open event at its blank line; false: it has no data line.
func (d *Decoder) dispatch() (Event, bool) {
	e, some := d.event, d.some
	e.Data = d.data
	d.event, d.data, d.some, d.fields = Event{}, nil, false, false
	if e.HasID {
		d.lastID = e.ID
	}
	return e, some
}

// finish returns the final error.
func (d *Decoder) finish() error {
	if d.readErr != io.EOF {
		return d.readErr
	}
	open := d.window[d.line:]
	if d.fields || len(open) > 0 && open[0] != ':' {
		return ErrIncomplete
	}
	return io.EOF
}

// readSize is the least room, in bytes, that is offered to the reader.
const readSize = 4 << 10

// fill reads once more into the window.
func (d *Decoder) fill() {
	if d.line > 0 {
		d.lines.drop(d.line)
		d.window = d.window[:copy(d.window, d.window[d.line:])]
		d.line = 0
	}
	if free := cap(d.window) - len(d.window); free < readSize/2 {
		d.window = append(make([]byte, 0, max(readSize, 2*cap(d.window))), d.window...)
	}
	for range 100 {
		n, err := d.r.Read(d.window[len(d.window):cap(d.window)])
		d.window = d.window[:len(d.window)+n]
		if err != nil && err != io.EOF {
			err = fmt.Errorf("sse: read: %w", err)
		}
		d.readErr = err
		if n > 0 || err != nil {
			return
		}
	}
	d.readErr = fmt.Errorf("sse: read: %w", io.ErrNoProgress)
}
