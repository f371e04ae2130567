package topic

import (
	"runtime"
	"sync"
	"unsafe"
	"weak"

	"github.com/fairlead-edge/fairlead"
)

// Readers that are far behind and take nothing hold what they were last given. Of
// small events that is little; a large one they are to hold once for all of them.

// sharedCold is the least size of an event and of its format, in bytes, for which
// that is worth it.
const sharedCold = 4 << 10

// coldKey names a wire format of an event.
type coldKey struct {
	record *Record
	format Format
}

// coldFrame is bytes that somebody holds, if so still.
type coldFrame struct {
	first weak.Pointer[byte]
	size  int
}

// coldFrames are those of large events that are not kept warm and that somebody
// holds: as many as there are at most readers.
var coldFrames sync.Map // of coldKey to coldFrame

// coldFrame is Frame for an event whose formats are not kept.
func (r *Record) coldFrame(f Format, encode func(*fairlead.Event) []byte) []byte {
	if r.weight() < sharedCold {
		return encode(&r.Event)
	}
	key := coldKey{r, f}
	for {
		old, held := coldFrames.Load(key)
		if held {
			c := old.(coldFrame) //nolint:errcheck,forcetypeassert // nothing else is there
			if first := c.first.Value(); first != nil {
				return unsafe.Slice(first, c.size) //nolint:gosec // of an array that is at least as long
			}
		}
		b := encode(&r.Event)
		if len(b) < sharedCold {
			return b
		}
		c := coldFrame{weak.Make(&b[0]), len(b)}
		if held && !coldFrames.CompareAndSwap(key, old, c) {
			continue
		}
		if !held {
			if _, raced := coldFrames.LoadOrStore(key, c); raced {
				continue
			}
		}
		runtime.AddCleanup(&b[0], func(key coldKey) { coldFrames.CompareAndDelete(key, c) }, key)
		return b
	}
}
