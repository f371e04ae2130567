package deliver

import (
	"math"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// errBehind is why a reader is sent away that falls further behind for ever.
var errBehind = fairlead.Errorf(fairlead.TooSlow, "the reader has been falling further behind: come back with your cursor, on a faster connection or for less")

// pace is how a reader keeps up, as FindSlow has seen it.
type pace struct {
	since uint32 // seconds, Unix; 0 while nothing waits for the client
	lag   uint32 // then
}

// FindSlow looks once at each session, and sends those away as too slow that for
// Config.SlowAfter have fallen further behind: whenever they were looked at, bytes
// waited for their client to take them, and in the end it lagged by more events
// than at the beginning. A reader that catches up is not slow.
//
// Only topics count for which meant returns true; nil means all. Where a policy
// skips what a reader cannot take, or its publisher waits for it, the lag has a
// bound of its own.
//
// Who is sent away is tried to be told where it stands until FindSlow comes again;
// then its connection is reset. FindSlow returns how many it has sent away. It is to
// be called by one goroutine, every few seconds.
func (h *Handler) FindSlow(now time.Time, meant func(topic string) bool) (sent int) {
	if h.cfg.SlowAfter < 0 {
		return 0
	}
	for _, s := range h.sessions.list() {
		switch why := s.away.Load(); {
		case s.page() != nil && !s.page().feed:
		case why == errBehind:
			s.reset()
		case why == nil && s.behind(now, h.cfg.SlowAfter, meant):
			s.sendAway(errBehind)
			sent++
		}
	}
	return sent
}

// behind reports whether the session has been slow for so long.
func (s *session) behind(now time.Time, long time.Duration, meant func(topic string) bool) bool {
	if !s.waited() {
		s.pace.since = 0
		return false
	}
	if s.pace.since != 0 && now.Sub(time.Unix(int64(s.pace.since), 0)) < long {
		return false
	}
	before := s.pace
	s.pace = pace{
		since: uint32(max(now.Unix(), 1)),                //nolint:gosec // until 2106
		lag:   uint32(min(s.lag(meant), math.MaxUint32)), //nolint:gosec // bounded
	}
	return before.since != 0 && s.pace.lag > before.lag
}

// waited reports whether something waits for the client to take it.
func (s *session) waited() bool {
	if call := s.page(); call != nil {
		return call.buffered.Load() > 0
	}
	at := s.conn.Stats()
	return at.Buffered > 0 || at.Unsent > 0
}

// lag returns how many events the reader has yet to be given, of the topics that
// are meant.
func (s *session) lag(meant func(topic string) bool) (events uint64) {
	for _, at := range s.reader.Status() {
		if meant == nil || meant(at.Topic) {
			events += at.Lag
		}
	}
	return events
}
