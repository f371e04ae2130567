package diagnose

import (
	"fmt"
	"time"
)

// The thresholds of what is about clients, in a window.
const (
	// nearlyAll is the share of the descriptors in use from which on a refused
	// connection is for want of them: Fairlead itself stops at four fifths.
	nearlyAll = 0.7
	// behind is by how many events a reader must have fallen behind.
	behind = 20
	// unanswered is for how many seconds a client must have acknowledged nothing of
	// what is sent to it again: a lost packet takes less, by far.
	unanswered = 2.0
	// manyOpened is how many sessions a second must begin, and each so many for one
	// that stays.
	manyOpened, openedEach = 20, 2
)

// descriptors tells of connections refused while the descriptors are used up.
func descriptors(w window) string {
	refused := w.grew("fairlead_connections_refused_total", "limit", "total")
	// To count them takes one: where none is left there may be no number.
	limit := max(w.after.Metrics.Sum("process_max_fds"), w.before.Metrics.Sum("process_max_fds"))
	open := w.after.Metrics.Sum("process_open_fds")
	if refused == 0 || limit == 0 || open != 0 && open < nearlyAll*limit {
		return ""
	}
	if open == 0 {
		return fmt.Sprintf("%.0f connections refused with not one of %.0f file descriptors left to count them by", refused, limit)
	}
	return fmt.Sprintf("%.0f connections refused with %.0f of %.0f file descriptors open", refused, min(open, limit), limit)
}

// slow tells of readers who take less than there is for them, and fall behind. One
// that acknowledges nothing may not be there.
func slow(w window) string {
	unheard := make(map[string]bool)
	for _, c := range w.after.Connections.Clients {
		unheard[c.Remote] = c.Path.Unanswered > 0
	}
	n, worst := 0, Session{}
	for was, is := range w.sessions {
		if is.Lag >= was.Lag+behind && is.Buffered+is.Unsent > 0 && is.Path.Unanswered == 0 && !unheard[is.Remote] {
			n++
			if is.Lag > worst.Lag {
				worst = *is
			}
		}
	}
	if n > 0 {
		return fmt.Sprintf("%d readers fall behind while bytes wait for them, the most %s by %s: %d events, %d bytes not taken",
			n, worst.Remote, worst.Transport, worst.Lag, worst.Buffered+worst.Unsent)
	}
	if n := w.grew("fairlead_sessions_closed_total", "reason", "too_slow"); n > 0 {
		return fmt.Sprintf("%.0f readers were sent away as too slow", n)
	}
	return ""
}

// halfOpen tells of clients who acknowledge nothing.
func halfOpen(w window) string {
	n, longest, who := 0, 0.0, ""
	look := func(remote string, p Path) {
		if p.Unanswered < unanswered {
			return
		}
		n++
		if p.Unanswered > longest {
			longest, who = p.Unanswered, remote
		}
	}
	for _, c := range w.after.Connections.Clients {
		look(c.Remote, c.Path)
	}
	for _, s := range w.after.Connections.Sessions {
		look(s.Remote, s.Path)
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d clients acknowledge nothing of what is sent to them again and again, %s for %.1f s", n, who, longest)
}

// storm tells of readers who come, go and come again.
func storm(w window) string {
	opened := w.grew("fairlead_sessions_opened_total")
	closed := w.grew("fairlead_sessions_closed_total")
	now := w.after.Metrics.Sum("fairlead_sessions")
	if opened < manyOpened*w.length().Seconds() || closed < manyOpened*w.length().Seconds() || opened < openedEach*now {
		return ""
	}
	why, n := w.most("fairlead_sessions_closed_total", "reason")
	return fmt.Sprintf("%.0f sessions began and %.0f ended in %s, most (%.0f) by %s, and %.0f are open",
		opened, closed, w.length().Round(100*time.Millisecond), n, why, now)
}

// sessions returns those that are in both snapshots, as they were and as they are.
func (w window) sessions(yield func(was, is *Session) bool) {
	type id struct {
		remote string
		since  time.Time
	}
	was := make(map[id]*Session)
	for i := range w.before.Connections.Sessions {
		s := &w.before.Connections.Sessions[i]
		was[id{s.Remote, s.Since}] = s
	}
	for i := range w.after.Connections.Sessions {
		is := &w.after.Connections.Sessions[i]
		old, ok := was[id{is.Remote, is.Since}]
		if !ok { // it began in the window: with nothing to wait for
			old = &Session{}
		}
		if !yield(old, is) {
			return
		}
	}
}
