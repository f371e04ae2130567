package upstream

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// unavailable is why an endpoint gave no connection.
type unavailable struct {
	reason string // one of those of Snapshot.Refusals, or "dial"
	text   string
	cause  error
}

func (e *unavailable) Error() string {
	if e.cause == nil {
		return e.text
	}
	return e.text + ": " + e.cause.Error()
}

func (e *unavailable) Unwrap() error { return e.cause }

// takenOut is the reason of who waited at an endpoint when it was taken out:
// another is better, but if there is none it can still be asked.
const takenOut = "taken_out"

// attemptError is what went wrong at one endpoint.
type attemptError struct {
	endpoint string
	err      error
}

func (e *attemptError) Error() string { return "upstream: " + e.endpoint + ": " + e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

// failures are all that went wrong with a request, in one line.
type failures []error

func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (f failures) Unwrap() []error { return f }

// comeBack is when who was refused because of load should try again: the
// queue has turned over by then.
const comeBack = time.Second

var busy = map[string]string{
	"queue_full": "and too many requests wait for it",
	"too_late":   "and did not become free in time",
}

// refusal returns the error of a request that got no connection, with the code
// that it is answered by if what went wrong does not tell that itself.
func (p *Pool) refusal(attempts []error) error {
	var code *fairlead.Error
	reason := "dial"
	switch {
	case p.ctx.Err() != nil:
		code, reason = fairlead.Errorf(fairlead.Unavailable, "the pool of the upstream was closed"), "closed"
	case len(attempts) == 0:
		code, reason = fairlead.Errorf(fairlead.Unavailable, "the upstream has no endpoint at the moment"), "no_endpoint"
	}
	for _, err := range attempts {
		u, ok := errors.AsType[*unavailable](err)
		switch {
		case !ok:
		case busy[u.reason] != "":
			code, reason = fairlead.Errorf(fairlead.Overloaded, "the upstream is busy, %s; try again", busy[u.reason]), u.reason
			code.RetryAfter = comeBack
		case u.cause == nil && code == nil:
			code = fairlead.Errorf(fairlead.Unavailable, "the upstream could not be reached in time")
		}
	}
	p.counts.refused(reason)
	all := failures(attempts)
	if code != nil {
		all = append(failures{code}, attempts...)
	}
	if seldom(&p.lastRefused, time.Now()) {
		p.events.add(Event{Kind: "refused", Reason: reason, Why: plainText(all)})
	}
	return all
}

func (m *member) fullText() string {
	return fmt.Sprintf("%d requests wait already for one of %d connections; raise max_connections or the queue, or add an endpoint", m.waitingLocked(), m.open+m.ending)
}

// late is why a request waited in vain.
func (m *member) late(waited time.Duration) error {
	m.mu.Lock()
	defer m.unlock()
	if m.servingLocked() == 0 && m.inFlight == 0 {
		if waited > promptly { // those who come next should not wait for the same dial
			m.avoid.Store(time.Now().Add(m.pool.cfg.Connections.DialTimeout).UnixNano())
		}
		return &unavailable{reason: "dial", text: fmt.Sprintf("no connection within %s", round(waited)), cause: m.dialErr}
	}
	return &unavailable{reason: "too_late", text: fmt.Sprintf(
		"none of %d connections came free within %s, %d others wait; raise max_connections, or add an endpoint", m.open+m.ending, round(waited), max(0, m.waitingLocked()-1))}
}
