package deliver

import (
	"math/rand/v2"
	"time"
)

// shedSpread is over how long those who are shed come back.
const shedSpread = 5 * time.Second

// Shed sends away a share, from 0 to 1, of the sessions that meant returns true for,
// all if it is nil, taken at random. They are told to come back in a moment, from
// where they are, so that nothing is lost; a balancer may then send them elsewhere.
// It returns how many.
func (h *Handler) Shed(share float64, meant func(SessionInfo) bool) (sent int) {
	d := &drain{spread: shedSpread}
	for _, s := range h.sessions.list() {
		if s.page() != nil && !s.page().feed || s.away.Load() != nil {
			continue // a page ends by itself
		}
		if rand.Float64() < share && (meant == nil || meant(s.info())) { //nolint:gosec // only to choose
			s.sendAway(d.later("you are asked to connect anew: come back in a moment, from the cursor you have"))
			sent++
		}
	}
	return sent
}
