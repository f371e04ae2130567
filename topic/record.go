package topic

import (
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// Format numbers a wire format of an event. The numbers are the caller's, from
// 0 to MaxFormats-1; a process must use each for one format only.
type Format uint8

// MaxFormats is how many wire formats of an event can be shared.
const MaxFormats = 8

// Record is an event in a log, with its wire formats. It is immutable but for
// the formats, and safe for concurrent use.
type Record struct {
	// Event is the stored event. It must not be changed.
	Event fairlead.Event

	seq        uint64
	at         int64  // when it was appended, Unix nanoseconds
	superseded bool   // a later event has its key; guarded by Log.mu
	end        uint32 // sum of the weights up to this one, modulo 2^32
	frames     atomic.Pointer[frames]
}

// Appended returns when the event was appended.
func (r *Record) Appended() time.Time { return time.Unix(0, r.at) }

// warmBytes is how many bytes of the newest events of a log keep their wire
// formats, by Policy.Bytes if that is large. It bounds what formats take: as
// much again for each format in use.
const warmBytes = 1 << 20

// warm returns the sum of the sizes of the events that keep their formats.
func (p *Policy) warm() int64 { return max(warmBytes, p.Bytes/8) }

// cold stands for the formats of a record that keeps none. Nothing is stored in it.
var cold frames

type frames [MaxFormats]atomic.Pointer[[]byte]

// Frame returns the event in the format f as encode makes it; the bytes must
// not be changed.
//
// The formats of the newest events of a log are kept: of those that make up
// 1 MiB or an eighth of Policy.Bytes, whichever is more, and always of the very
// newest. There encode runs the first time only, and all readers share the
// result; when they race it may run more than once, but one result is kept. An
// older event is encoded anew by each call, but for one of some size while anybody
// has what a call has made of it.
func (r *Record) Frame(f Format, encode func(*fairlead.Event) []byte) []byte {
	kept := r.frames.Load()
	if kept == nil {
		r.frames.CompareAndSwap(nil, new(frames))
		kept = r.frames.Load()
	}
	if kept == &cold {
		return r.coldFrame(f, encode)
	}
	if b := kept[f].Load(); b != nil {
		return *b
	}
	b := encode(&r.Event)
	kept[f].CompareAndSwap(nil, &b)
	return *kept[f].Load()
}

// cool lets go of the formats of the events that are no longer among the
// newest. l.mu is held.
func (l *Log) cool() {
	limit := l.policy.warm()
	if l.size <= limit {
		return
	}
	x := l.more()
	for seq := max(x.cold+1, l.first()); seq < l.next-1 && l.size-x.coldSize > limit; seq++ {
		r := l.at(seq)
		r.frames.Store(&cold)
		x.cold = seq
		x.coldSize += r.size()
	}
}

// RecordOverhead is how many bytes a retained event counts for beside its own,
// in Policy.Bytes and in a store's total.
const RecordOverhead = 256

func (r *Record) size() int64 { return int64(RecordOverhead + r.weight()) }

// weight is how many bytes the event has itself.
func (r *Record) weight() int {
	e := &r.Event
	n := len(e.Data) + len(e.Type) + len(e.Key) + len(e.ContentType) + len(e.Traceparent)
	for k, v := range e.Attributes {
		n += len(k) + len(v) + 32
	}
	return n
}
