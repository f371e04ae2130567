package fairlead

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxTopicName is the longest topic name, in bytes of UTF-8.
const MaxTopicName = 255

// ControlPrefix begins the types of events that Fairlead itself sends. An
// event with such a type cannot be published.
const ControlPrefix = "fairlead."

// Types of control events.
const (
	TypeGap      = "fairlead.gap"      // events the reader missed are no longer retained
	TypeEnd      = "fairlead.end"      // the topic was closed: nothing will follow
	TypeFault    = "fairlead.fault"    // the source broke: never an end
	TypeDraining = "fairlead.draining" // come back later, to this or another node
	TypePing     = "fairlead.ping"     // a heartbeat asked for as an event
)

// Event is one entry of a topic. Topic, Cursor and, when zero, Time are set
// by the log that stores it. Once stored it is shared by all its readers and
// must not be changed; that includes Data and Attributes.
type Event struct {
	// Topic is the name of the topic the event is in.
	Topic string
	// Cursor is the event's position: reading after it yields what follows.
	Cursor Cursor
	// Type names the kind of event, as in SSE's event field. Empty means
	// untyped; the prefix "fairlead." is reserved.
	Type string
	// Key groups events of which only the latest matters, under the policy
	// latest-per-key and for the start position "snapshot". Empty: no key.
	Key string
	// ContentType is the media type of Data as the publisher gave it.
	ContentType string
	// Time is when the event happened, or when it was appended.
	Time time.Time
	// Traceparent is the W3C trace context of the publish. Empty: none.
	Traceparent string
	// Attributes are further string attributes, such as CloudEvents extensions.
	Attributes map[string]string
	// Data is the payload, byte for byte as published.
	Data []byte
	// Critical events are dropped by no delivery policy, only by retention,
	// and then with a gap.
	Critical bool
}

// Validate reports what makes e unfit to be published, as an [Error] of code
// [InvalidArgument], or nil: a reserved type, or a type or key that holds a
// line break or NUL or is not UTF-8 (neither SSE nor a header could carry it).
func (e *Event) Validate() error {
	if strings.HasPrefix(e.Type, ControlPrefix) {
		return Errorf(InvalidArgument, "type %q is reserved: types beginning with %q are the server's own", e.Type, ControlPrefix)
	}
	for _, f := range [...]struct{ what, value string }{{"type", e.Type}, {"key", e.Key}, {"traceparent", e.Traceparent}, {"content type", e.ContentType}} {
		if len(f.value) > maxField {
			return Errorf(InvalidArgument, "%s is %d bytes long; at most %d are allowed", f.what, len(f.value), maxField)
		}
		if !utf8.ValidString(f.value) || strings.ContainsAny(f.value, "\r\n\x00") {
			return Errorf(InvalidArgument, "%s must be UTF-8 without line breaks or NUL", f.what)
		}
	}
	return nil
}

// maxField bounds the type, key, content type and traceparent of an event, in
// bytes, so that one event's metadata cannot outweigh the retention's count.
const maxField = 1024

// CheckTopicName reports why name cannot name a topic, as an [Error] of code
// [InvalidArgument], or nil. A name is 1 to 255 bytes of UTF-8 in segments
// separated by "/", none of them empty, "." or "..", without control
// characters; a name whose first segment begins with "$" is reserved.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return Errorf(InvalidArgument, "the topic name is empty")
	case len(name) > MaxTopicName:
		return Errorf(InvalidArgument, "the topic name is %d bytes long; at most %d are allowed", len(name), MaxTopicName)
	case !utf8.ValidString(name):
		return Errorf(InvalidArgument, "the topic name is not valid UTF-8")
	case name[0] == '$':
		return Errorf(InvalidArgument, "topic names beginning with $ are reserved")
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return Errorf(InvalidArgument, "the topic name holds the control character %U", r)
		}
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return Errorf(InvalidArgument, "the topic name has the segment %q; segments are separated by one / and are not empty, . or ..", segment)
		}
	}
	return nil
}

// String returns the event's topic, cursor, type and size, never its data.
func (e *Event) String() string {
	return fmt.Sprintf("event %s@%s type=%q %d bytes", e.Topic, e.Cursor, e.Type, len(e.Data))
}
