package topic

import "github.com/fairlead-edge/fairlead"

// Kind says what an Item is.
type Kind uint8

// The kinds of items.
const (
	KindEvent Kind = iota // Record holds an event
	KindGap               // events left the retention before they were read: Gap
	KindEnd               // the log ended; nothing follows for this log
	KindFault             // the log's source broke: Fault; nothing follows
	KindLag               // OnLag close: the reader is too slow; nothing follows
)

// Item is what a reader reads.
type Item struct {
	Kind Kind
	// Log is the log the item is from.
	Log *Log
	// Cursor is where the reader stands after the item: that of the event or,
	// after the last of a snapshot, of the newest event it stands for.
	Cursor fairlead.Cursor
	// Record is the event, for KindEvent.
	Record *Record
	// Skipped counts the events that the policy passed over since the previous
	// item of this log.
	Skipped uint64
	// Gap is for KindGap, and for KindLag what the gap would have been.
	Gap Gap
	// Fault is for KindFault.
	Fault *fairlead.Error
}

// Gap says that a reader missed events because they are no longer retained.
type Gap struct {
	// After is the cursor the reader was at.
	After fairlead.Cursor
	// Earliest is the cursor of the oldest event that is retained, with which
	// the reader goes on.
	Earliest fairlead.Cursor
	// Skipped is how many events were missed, unless Unknown.
	Skipped uint64
	// Unknown is set when After is from another life of the topic, or from
	// another topic, so that nobody knows what was missed.
	Unknown bool
}
