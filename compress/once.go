package compress

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxPiece is the most, in bytes, that becomes one frame.
const maxPiece = 64 << 10

// newEventEncoder returns an encoder of whole pieces: frames as short as can be,
// without window and checksum.
func newEventEncoder(dictionary []byte) *zstd.Encoder {
	options := append(rawDictionary(dictionary, zstdWindow(len(dictionary), maxPiece)), zstd.WithSingleSegment(true), zstd.WithZeroFrames(true))
	w, err := zstd.NewWriter(nil, options...) // as many at a time as there are processors
	if err != nil {
		panic(err) // the options are constants
	}
	return w
}

// once is the coder of a stream of events in dcz whose frames are those of all
// other streams with the dictionary: each event is a frame of its own, which a
// decoder gives back without the ones before it. It holds memory only between
// Write and Flush.
type once struct {
	d       *Dictionary
	to      headWriter
	pending *[]byte // what is not coded yet, at most maxPiece; nil: nothing
}

func (d *Dictionary) newOnce() coder {
	return &once{d: d, to: headWriter{head: dczMagic + string(d.hash[:])}}
}

// buffers are those of streams that are being written to; all are empty.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func putBuffer(b *[]byte) {
	*b = (*b)[:0]
	buffers.Put(b)
}

// Reset begins another stream.
func (o *once) Reset(w io.Writer) {
	o.to.w, o.to.sent = w, false
	o.drop()
}

func (o *once) drop() {
	if o.pending != nil {
		putBuffer(o.pending)
		o.pending = nil
	}
}

// Write keeps p until Flush, so that an event is one frame however it is
// written, or until it is too much.
func (o *once) Write(p []byte) (int, error) {
	if o.pending == nil {
		o.pending = buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxPiece-len(*o.pending))
		*o.pending = append(*o.pending, rest[:n]...)
		rest = rest[n:]
		if len(*o.pending) < maxPiece {
			break
		}
		whole := *o.pending
		if i := bytes.LastIndex(whole, blankLine); i >= 0 {
			whole = whole[:i+len(blankLine)]
		}
		if err := o.code(whole); err != nil {
			return 0, err
		}
		*o.pending = append((*o.pending)[:0], (*o.pending)[len(whole):]...)
	}
	return len(p), nil
}

// Flush writes what is pending.
func (o *once) Flush() error {
	if o.pending == nil {
		return nil
	}
	err := o.code(*o.pending)
	o.drop()
	return err
}

// Close ends the stream; one without any event is an empty frame.
func (o *once) Close() error {
	if err := o.Flush(); err != nil || o.to.sent {
		return err
	}
	_, err := o.to.Write(o.d.events.EncodeAll(nil, nil))
	return err
}

// blankLine ends an event. A stream may have other line ends: its events are
// then coded by what was written at once.
var blankLine = []byte("\n\n")

// minPiece is the least, in bytes, that becomes a frame while more was written
// with it: a frame has some 12 bytes of its own.
const minPiece = 32

// code writes the frames of all events in p, in one write. Several events are
// what a reader is sent that catches up, often alone: those among them that
// nobody was sent lately are one frame, which is shorter and costs less than one
// for each. When a second reader is sent the same, they are shared from then on.
func (o *once) code(p []byte) error {
	if _, rest := cutEvent(p); len(rest) == 0 {
		_, err := o.to.Write(o.d.frame(p))
		return err
	}
	out := buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
	defer putBuffer(out)
	fresh := p[:0] // what comes before rest and nobody was sent
	for rest := p; len(rest) > 0; {
		var event []byte
		event, rest = cutEvent(rest)
		if f, known := o.d.frames.find(event); known {
			*out = append(o.d.appendTogether(*out, fresh), o.d.code(f, event)...)
			fresh = rest[:0]
		} else {
			fresh = fresh[:len(fresh)+len(event)]
		}
	}
	*out = o.d.appendTogether(*out, fresh)
	_, err := o.to.Write(*out)
	return err
}

// appendTogether appends one frame of events, if there are any.
func (d *Dictionary) appendTogether(out, events []byte) []byte {
	if len(events) == 0 {
		return out
	}
	return d.events.EncodeAll(events, out)
}

func cutEvent(p []byte) (event, rest []byte) {
	from := min(len(p), minPiece-len(blankLine))
	if i := bytes.Index(p[from:], blankLine); i >= 0 {
		i += from + len(blankLine)
		return p[:i], p[i:]
	}
	return p, nil
}

// maxGeneration bounds, in bytes, the frames of a generation of which there are
// two at a time.
const maxGeneration = 2 << 20

// frames are those that were coded lately, by what is coded in them. What is
// found in the old generation is young again; when the young one is full, it
// becomes the old one.
type frames struct {
	mu         sync.Mutex
	young, old map[string]*frame
	size       int // of young, in bytes
}

// frame is coded by the first who needs it, the others wait for him.
type frame struct {
	code  sync.Once
	coded []byte
}

// frame returns the frame of p, which is shared: it must not be changed.
func (d *Dictionary) frame(p []byte) []byte {
	f, _ := d.frames.find(p)
	return d.code(f, p)
}

func (d *Dictionary) code(f *frame, p []byte) []byte {
	f.code.Do(func() {
		long := d.events.EncodeAll(p, make([]byte, 0, len(p)+32))
		f.coded = bytes.Clone(long)
	})
	return f.coded
}

// find returns the frame of p, which is perhaps not coded yet, and whether
// anybody has looked for it before.
func (s *frames) find(p []byte) (f *frame, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, known = s.young[string(p)]; known {
		return f, true
	}
	key := string(p)
	if f, known = s.old[key]; !known {
		f = new(frame)
	}
	// A frame is no longer than p and 32 bytes; 160 are its share of the map.
	cost := 2*len(p) + 192
	if s.young == nil || s.size+cost > maxGeneration {
		s.young, s.old, s.size = make(map[string]*frame), s.young, 0
	}
	s.young[key] = f
	s.size += cost
	return f, known
}
