package deliver

import (
	"sync"

	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
)

const (
	// pullItems is how many items a session takes from its topics at once, so that
	// they go into one write where they are small.
	pullItems = 256
	// pullBytes is about how many bytes of events that may be.
	pullBytes = 32 << 10
)

// pulled are items that a session was given.
type pulled struct {
	items []topic.Item
	all   *[pullItems]topic.Item
}

// They are pooled: an array of each session's own would be cleared each time.
var arrays = sync.Pool{New: func() any { return new([pullItems]topic.Item) }}

// pull takes what the reader has for a session, up to most items, and has the
// session asked again when there is more; for most of 0 that is the caller's.
func pull(r *topic.Reader, out *fanout.Out, most int) pulled {
	if most == 0 {
		return pulled{}
	}
	all := arrays.Get().(*[pullItems]topic.Item) //nolint:errcheck // the pool holds nothing else
	n, more, due := r.PollSome(all[:most], pullBytes)
	if more {
		out.More()
	}
	if !due.IsZero() {
		out.At(due)
	}
	return pulled{all[:n], all}
}

// release gives the array back, which keeps no event.
func (p pulled) release() {
	if p.all == nil {
		return
	}
	clear(p.items)
	arrays.Put(p.all)
}
