package sse

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultMax is the largest event or block, in bytes, that a Decoder or a
// Splitter accepts unless told otherwise: 1 MiB.
const DefaultMax = 1 << 20

// ErrTooLarge means that an event or block is larger than the reader's bound.
var ErrTooLarge = errors.New("sse: event is larger than the limit")

// Event is one event of a stream (WHATWG HTML §9.2.6), on its way out or in.
type Event struct {
	// ID is the event's own id line. A reader keeps it as its last event id
	// until another event carries one, so an empty ID alone says nothing.
	ID string
	// HasID tells an empty id line, which resets the reader's last event id,
	// from no id line. A non-empty ID is written whether HasID is set or not.
	HasID bool
	// Type is the event field. Empty means what readers call "message".
	Type string
	// Data is the payload: its lines are joined by LF. The format cannot
	// carry CR or CR LF, so they arrive as LF. Nil and empty are the same:
	// an event with empty data.
	Data []byte
	// Retry asks the reader to wait that long before it reconnects, in whole
	// milliseconds, rounded up. Zero: not said.
	Retry time.Duration
}

// Validate reports why e cannot be written, or nil: an id or type that holds a
// line break or NUL, or is not UTF-8. Data of any bytes can be written.
func (e *Event) Validate() error {
	if err := validField("id", e.ID); err != nil {
		return err
	}
	return validField("event type", e.Type)
}

func validField(name, value string) error {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("sse: encode: %s %.40q holds a line break or NUL", name, value)
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("sse: encode: %s %.40q is not UTF-8", name, value)
	}
	return nil
}
