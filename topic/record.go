package topic

import (
	"sync/atomic"

	"github.com/fairlead-edge/fairlead"
)

// Format numbers a wire format of an event. The numbers are the caller's, from
// 0 to MaxFormats-1; a process must use each for one format only.
type Format uint8

// MaxFormats is how many wire formats of an event can be shared.
const MaxFormats = 6

// Record is an event in a log, with its wire formats. It is immutable but for
// the formats, and safe for concurrent use.
type Record struct {
	// Event is the stored event. It must not be changed.
	Event fairlead.Event

	seq        uint64
	at         int64 // when it was appended, Unix nanoseconds
	superseded bool  // a later event has its key; guarded by Log.mu
	frames     atomic.Pointer[[MaxFormats]atomic.Pointer[[]byte]]
}

// Frame returns the event in the format f, which encode makes the first time
// it is asked for. All readers of the event share the returned bytes, which
// must not be changed. When readers race encode may run more than once, but one
// result is kept.
func (r *Record) Frame(f Format, encode func(*fairlead.Event) []byte) []byte {
	frames := r.frames.Load()
	if frames == nil {
		r.frames.CompareAndSwap(nil, new([MaxFormats]atomic.Pointer[[]byte]))
		frames = r.frames.Load()
	}
	if b := frames[f].Load(); b != nil {
		return *b
	}
	b := encode(&r.Event)
	frames[f].CompareAndSwap(nil, &b)
	return *frames[f].Load()
}

// RecordOverhead is how many bytes a retained event counts for beside its own,
// in Policy.Bytes and in a store's total.
const RecordOverhead = 256

func (r *Record) size() int64 {
	e := &r.Event
	n := RecordOverhead + len(e.Data) + len(e.Type) + len(e.Key) + len(e.ContentType) + len(e.Traceparent)
	for k, v := range e.Attributes {
		n += len(k) + len(v) + 32
	}
	return int64(n)
}
