package deliver

import (
	"slices"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// maxWindow is the most events that may wait for their acknowledgement.
const maxWindow = 10_000

// window bounds how many events a reader is sent before it acknowledges them.
// An end and a fault come after their topic's events, and wait as those do.
// The zero value bounds nothing. It is not safe for concurrent use.
type window struct {
	size int // 0: nothing is to be acknowledged
	n    int // sent and not acknowledged, at most size, or what it was when it shrank
	sent map[string][]fairlead.Cursor
}

// resize sets how many may wait.
func (w *window) resize(n int) error {
	if n < 0 || n > maxWindow {
		return fairlead.Errorf(fairlead.InvalidArgument, "a window has at most %d events; 0 ends it", maxWindow)
	}
	if w.size = n; n == 0 {
		w.n, w.sent = 0, nil
	}
	return nil
}

// room returns how many events may be sent, at most most.
func (w *window) room(most int) int {
	if w.size == 0 {
		return most
	}
	return max(0, min(most, w.size-w.n))
}

// handed notes that an item is being sent.
func (w *window) handed(item *topic.Item) {
	if w.size == 0 || item.Kind != topic.KindEvent {
		return
	}
	if w.sent == nil {
		w.sent = make(map[string][]fairlead.Cursor)
	}
	name := item.Log.Name()
	w.sent[name] = append(w.sent[name], item.Cursor)
	w.n++
}

// acknowledge notes that the topic's events up to the cursor are dealt with. topics
// are where the session stands.
func (w *window) acknowledge(topics map[string]*place, name string, at fairlead.Cursor) error {
	if w.size == 0 {
		return fairlead.Errorf(fairlead.InvalidArgument, "nothing is to be acknowledged: set a window first")
	}
	if topics[name] == nil {
		return notSubscribed(name)
	}
	if !topics[name].passed(at) {
		return fairlead.Errorf(fairlead.InvalidArgument, "%.40q is the cursor of no event of %q that was sent: acknowledge with the cursor of the last one that is dealt with", at, name)
	}
	waiting := w.sent[name]
	for i, c := range slices.Backward(waiting) {
		if c <= at {
			w.keep(name, waiting[i+1:])
			return nil
		}
	}
	return nil // once more
}

// forget counts nothing more of a topic.
func (w *window) forget(name string) { w.keep(name, nil) }

func (w *window) keep(name string, rest []fairlead.Cursor) {
	w.n -= len(w.sent[name]) - len(rest)
	if len(rest) == 0 {
		delete(w.sent, name)
	} else {
		w.sent[name] = rest
	}
}
