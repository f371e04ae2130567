package deliver

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// drain is the state of a handler that sends its sessions away.
type drain struct{ spread time.Duration }

// leastRetry is the shortest time that anybody is asked to stay away.
const leastRetry = time.Second

// advice is the cause with which a session is sent away. Each gets a time of
// its own, so that they don't come back at once.
func (d *drain) advice() error {
	e := fairlead.Errorf(fairlead.Draining, "this server is going away: come back in a moment, from the cursor you have")
	e.RetryAfter = leastRetry + rand.N(d.spread+1)
	return e
}

var errReset = fairlead.Errorf(fairlead.Draining, "the time to go away is up")

// Drain sends every session away: over the window, one after the other in
// random order, each is told when and from where to come back, and then ended.
// New sessions are told at once; publishing goes on. Drain returns when no
// session is left, or when ctx ends, with its error; then it has reset the
// connections of the rest. A handler that drains does not go back.
func (h *Handler) Drain(ctx context.Context, window time.Duration) error {
	d := &drain{spread: max(window, leastRetry)}
	h.sessions.mu.Lock()
	h.sessions.draining = d
	order := make([]*session, 0, len(h.sessions.all))
	for s := range h.sessions.all {
		order = append(order, s)
	}
	h.sessions.mu.Unlock()
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, s := range order {
		// Somewhere within its share of the window.
		share := max(window, 0) / time.Duration(len(order))
		if i > 0 || share > 0 {
			timer.Reset(share/2 + rand.N(share/2+1))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return h.resetAll(ctx)
			}
		}
		s.cancel(d.advice())
	}
	select {
	case <-h.sessions.gone():
		return nil
	case <-ctx.Done():
		return h.resetAll(ctx)
	}
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
	h.sessions.mu.Lock()
	all := make([]*session, 0, len(h.sessions.all))
	for s := range h.sessions.all {
		all = append(all, s)
	}
	h.sessions.mu.Unlock()
	for _, s := range all {
		s.cancel(errReset)
		s.mu.Lock()
		if s.reset != nil {
			s.reset()
		}
		s.mu.Unlock()
	}
	if len(all) == 0 {
		return nil
	}
	return context.Cause(ctx)
}
