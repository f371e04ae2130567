package deliver

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// drain is the state of a handler that sends its sessions away.
type drain struct{ spread time.Duration }

// leastRetry is the shortest time that anybody is asked to stay away.
const leastRetry = time.Second

// advice is the cause with which a session is sent away. Each gets a time of
// its own, so that they don't come back at once.
func (d *drain) advice() *fairlead.Error {
	return d.later("this server is going away: come back in a moment, from the cursor you have")
}

func (d *drain) later(message string) *fairlead.Error {
	e := fairlead.Errorf(fairlead.Draining, "%s", message)
	e.RetryAfter = leastRetry + rand.N(d.spread+1)
	return e
}

var errReset = fairlead.Errorf(fairlead.Draining, "the time to go away is up")

// Drain sends every session away: over the window, one after the other in
// random order, each is told when and from where to come back, and then ended.
// New sessions are told at once. Publishing goes on, but for what would have to
// wait for room in a topic: it is refused, with the code Draining. Drain returns when no
// session is left, or when ctx ends, with its error; then it has reset the
// connections of the rest. A handler that drains does not go back.
func (h *Handler) Drain(ctx context.Context, window time.Duration) error {
	d := &drain{spread: max(window, leastRetry)}
	h.sessions.mu.Lock()
	h.sessions.draining = d
	h.sessions.mu.Unlock()
	order := h.sessions.list()
	h.leave()
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for i, s := range order {
		// Somewhere within its share of the window; as many shares may be over by
		// now as timers are late.
		share := max(window, 0) / time.Duration(len(order))
		wait := time.Until(began.Add(time.Duration(i)*share + share/2 + rand.N(share/2+1)))
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return h.resetAll(ctx)
			}
		}
		s.sendAway(d.advice())
	}
	select {
	case <-h.sessions.gone():
		return nil
	case <-ctx.Done():
		return h.resetAll(ctx)
	}
}

// append appends to the topic; what waits for room there leaves with the handler.
func (h *Handler) append(ctx context.Context, name string, b topic.Batch) (topic.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(h.leaving, func() {
		h.sessions.mu.Lock()
		d := h.sessions.draining
		h.sessions.mu.Unlock()
		cancel(d.later("this server is going away and the topic has no room now: nothing was stored; publish again in a moment"))
	})
	defer stop()
	return h.cfg.Topics.Append(ctx, name, b)
}

// gone returns a channel that is closed once there is no session.
func (r *registry) gone() <-chan struct{} {
	c := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		close(c)
	} else {
		r.empty = append(r.empty, c)
	}
	return c
}

func (h *Handler) resetAll(ctx context.Context) error {
	all := h.sessions.list()
	for _, s := range all {
		s.reset()
	}
	if len(all) == 0 {
		return nil
	}
	return context.Cause(ctx)
}
