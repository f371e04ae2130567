package topic

import "time"

// Waker is told when a reader that is only polled has something to poll for.
type Waker interface {
	// Wake is called when the next Poll may have something: after an append, the
	// end or the fault of a log, a change of its policy, and Add; for more see
	// [NewWokenReader]. It is called by whoever made that change, with locks of the
	// log held: it must neither block nor call the package. One call may stand for
	// many changes.
	Wake()
}

// waiter is the waker of a reader that waits for itself.
type waiter struct {
	token chan struct{} // holds one when there may be something
	timer *time.Timer   // of waits; owned by Next's goroutine
}

// Wake puts the token there.
func (w *waiter) Wake() {
	select {
	case w.token <- struct{}{}:
	default:
	}
}

// alarm returns a channel that has a value at the time (Unix nanoseconds), or
// never for 0. There is one timer for all waits.
func (w *waiter) alarm(at int64) <-chan time.Time {
	if at == 0 {
		return nil
	}
	wait := time.Until(time.Unix(0, at))
	if w.timer == nil {
		w.timer = time.NewTimer(wait)
	} else {
		w.timer.Reset(wait)
	}
	return w.timer.C
}
