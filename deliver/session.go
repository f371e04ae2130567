package deliver

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// session is one subscriber's connection while it is served.
type session struct {
	transport string
	remote    string
	since     time.Time
	resumed   bool
	late      bool // it came to a server that was going away already
	reader    *topic.Reader
	ctx       context.Context
	cancel    context.CancelCauseFunc

	events, bytes, skipped, gaps atomic.Uint64

	mu    sync.Mutex
	reset func() // breaks its I/O; nil when the handler has returned
}

// SessionInfo describes a live session to the operator.
type SessionInfo struct {
	Transport string         // TransportSSE, TransportWebSocket or TransportPoll
	Remote    string         // address of the client's connection
	Since     time.Time      // when it was admitted
	Resumed   bool           // it began from a cursor
	Topics    []topic.Status // where it stands
	Events    uint64         // sent
	Bytes     uint64         // sent, before any framing of HTTP's
	Skipped   uint64         // events passed over by delivery policies
	Gaps      uint64         // told
}

// registry holds the live sessions: as many as there are connections and
// HTTP/2 streams.
type registry struct {
	mu       sync.Mutex
	all      map[*session]struct{}
	draining *drain          // nil until Handler.Drain
	empty    []chan struct{} // closed at the next moment without any
}

// Sessions returns the live sessions in no order, at most limit of them unless
// it is 0.
func (h *Handler) Sessions(limit int) []SessionInfo {
	h.sessions.mu.Lock()
	all := make([]*session, 0, len(h.sessions.all))
	for s := range h.sessions.all {
		if limit > 0 && len(all) == limit {
			break
		}
		all = append(all, s)
	}
	h.sessions.mu.Unlock()
	infos := make([]SessionInfo, len(all))
	for i, s := range all {
		infos[i] = SessionInfo{
			Transport: s.transport, Remote: s.remote, Since: s.since, Resumed: s.resumed, Topics: s.reader.Status(),
			Events: s.events.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
		}
	}
	return infos
}

// begin registers a session of the request. reset must break its I/O.
func (h *Handler) begin(r *http.Request, transport string, reader *topic.Reader, resumed bool, reset func()) *session {
	s := &session{transport: transport, remote: r.RemoteAddr, since: time.Now(), resumed: resumed, reader: reader, reset: reset}
	s.ctx, s.cancel = context.WithCancelCause(r.Context())
	h.cfg.Observer.Opened(transport)
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	if h.sessions.all == nil {
		h.sessions.all = make(map[*session]struct{})
	}
	h.sessions.all[s] = struct{}{}
	if d := h.sessions.draining; d != nil {
		s.late = true
		s.cancel(d.advice())
	}
	return s
}

// end takes the session off the register; reason is why it ended.
func (h *Handler) end(s *session, reason fairlead.Code) {
	s.cancel(nil)
	s.mu.Lock()
	s.reset = nil
	s.mu.Unlock()
	h.cfg.Observer.Closed(Ended{
		Transport: s.transport, Reason: reason, Resumed: s.resumed, Lasted: time.Since(s.since),
		Events: s.events.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
	})
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	delete(h.sessions.all, s)
	if len(h.sessions.all) == 0 {
		for _, c := range h.sessions.empty {
			close(c)
		}
		h.sessions.empty = nil
	}
}

// count notes an item that is being sent.
func (s *session) count(item *topic.Item) {
	switch item.Kind {
	case topic.KindEvent:
		s.events.Add(1)
	case topic.KindGap:
		s.gaps.Add(1)
	default:
	}
	if item.Skipped > 0 {
		s.skipped.Add(item.Skipped)
	}
}
