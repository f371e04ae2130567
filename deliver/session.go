package deliver

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
)

// session is one subscriber's connection while it is served. There may be a
// hundred thousand of them that do nothing, so that each field counts.
type session struct {
	conn      fanout.Conn
	h         *Handler
	remote    string
	since     int64 // when its request came, Unix nanoseconds
	reader    *topic.Reader
	away      atomic.Pointer[fairlead.Error] // why it is sent away
	lease     Lease                          // Config.Take's or Stay's; may be nil
	rare      atomic.Pointer[rare]           // nil until it is needed
	transport transport
	resumed   bool
	late      bool // it came to a server that was going away already
	spoke     atomic.Bool
	pace      pace // FindSlow's

	events, bytes atomic.Uint64
}

// rare is what most sessions have no use for.
type rare struct {
	skipped, gaps atomic.Uint64
	poll          *pageCall // nil of what is no page
}

// rarely returns it. Only who serves the session may call it.
func (s *session) rarely() *rare {
	r := s.rare.Load()
	if r == nil {
		r = new(rare)
		s.rare.Store(r)
	}
	return r
}

// page returns what a page has of its own, nil for others.
func (s *session) page() *pageCall {
	if r := s.rare.Load(); r != nil {
		return r.poll
	}
	return nil
}

// passed returns how many events were passed over, and how many gaps were told.
func (s *session) passed() (skipped, gaps uint64) {
	if r := s.rare.Load(); r != nil {
		return r.skipped.Load(), r.gaps.Load()
	}
	return 0, 0
}

// transport is one of those that Config's names are for.
type transport uint8

const (
	overSSE transport = iota
	overWebSocket
	overPoll
	overGRPC
	overGRPCWeb
	overConnect
)

// transports are their names.
var transports = [...]string{TransportSSE, TransportWebSocket, TransportPoll, TransportGRPC, TransportGRPCWeb, TransportConnect}

// Transports returns the names of the transports that sessions have.
func Transports() []string { return slices.Clone(transports[:]) }

func (t transport) String() string { return transports[t] }

// SessionInfo describes a live session to the operator.
type SessionInfo struct {
	Transport    string         // TransportSSE and so on
	Remote       string         // address of the client's connection
	Since        time.Time      // when its request came
	Resumed      bool           // it began from a cursor
	Spoke        bool           // its client has sent a message
	Topics       []topic.Status // where it stands; of Handler.Sessions at most MaxReadings of them
	Reads        int            // how many topics that are in all
	Lag          uint64         // events that it has yet to be given, of all its topics
	Events       uint64         // sent
	Bytes        uint64         // sent, before any framing of HTTP's
	Skipped      uint64         // events passed over by delivery policies
	Gaps         uint64         // told
	Buffered     int            // bytes that wait to be written
	Unsent       int            // bytes that the kernel holds and has not sent; -1 where that is not known
	LastReceived time.Time      // when its client last sent a byte; of a page, Since
	Engine       bool           // Config.Engine serves it
	Path         *fanout.Path   // to its client; of Handler.Sessions, nil where it is not known
}

func (s *session) info() SessionInfo {
	since := time.Unix(0, s.since)
	i := SessionInfo{
		Transport: s.transport.String(), Remote: s.remote, Since: since, Resumed: s.resumed, Spoke: s.spoke.Load(), Topics: s.reader.Status(),
		Events: s.events.Load(), Bytes: s.bytes.Load(), Unsent: -1, LastReceived: since,
	}
	i.Reads = len(i.Topics)
	for _, at := range i.Topics {
		i.Lag += at.Lag
	}
	i.Skipped, i.Gaps = s.passed()
	if call := s.page(); call != nil {
		i.Buffered = int(call.buffered.Load())
		return i
	}
	at := s.conn.Stats()
	i.Buffered, i.Unsent, i.Engine = at.Buffered, at.Unsent, at.Engine
	if at.Received > 0 {
		i.LastReceived = at.LastReceived
	}
	return i
}

// registry holds the live sessions: as many as there are connections and
// HTTP/2 streams.
type registry struct {
	mu       sync.Mutex
	all      map[*session]struct{}
	draining *drain          // nil until Handler.Drain
	empty    []chan struct{} // closed at the next moment without any
}

// MaxReadings is how many of a session's topics [Handler.Sessions] returns, those in
// which it lags the most: a client may read thousands, and looking at many such clients
// must not weigh on the server.
const MaxReadings = 10

// Sessions returns the live sessions, those first that lag the most, at most limit
// of them unless it is 0.
func (h *Handler) Sessions(limit int) []SessionInfo {
	type lagging struct {
		*session

		lag uint64
	}
	all := h.sessions.list()
	ranked := make([]lagging, len(all))
	for i, s := range all {
		ranked[i] = lagging{s, s.lag(nil)}
	}
	slices.SortFunc(ranked, func(a, b lagging) int { return cmp.Or(cmp.Compare(b.lag, a.lag), cmp.Compare(a.since, b.since)) })
	if limit > 0 {
		ranked = ranked[:min(limit, len(ranked))]
	}
	infos := make([]SessionInfo, len(ranked))
	for i, s := range ranked {
		infos[i] = s.info()
		if topics := infos[i].Topics; len(topics) > MaxReadings {
			slices.SortStableFunc(topics, func(a, b topic.Status) int { return cmp.Compare(b.Lag, a.Lag) })
			infos[i].Topics = slices.Clone(topics[:MaxReadings]) // the rest is not kept
		}
		if path, ok := s.conn.Path(); ok {
			infos[i].Path = &path
		}
	}
	return infos
}

// Transports returns how many live sessions there are over each transport.
func (h *Handler) Transports() map[string]int {
	all := make(map[string]int)
	for _, s := range h.sessions.list() {
		all[s.transport.String()]++
	}
	return all
}

// All yields the live sessions in no order, each as it is at that moment.
func (h *Handler) All() iter.Seq[SessionInfo] {
	return func(yield func(SessionInfo) bool) {
		for _, s := range h.sessions.list() {
			if !yield(s.info()) {
				return
			}
		}
	}
}

// list returns the sessions.
func (r *registry) list() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*session, 0, len(r.all))
	for s := range r.all {
		all = append(all, s)
	}
	return all
}

// begin registers a session, which has what it needs to be sent away, and since.
func (h *Handler) begin(s *session, remote string, over transport, resumed bool) {
	s.h, s.transport, s.remote, s.resumed = h, over, remote, resumed
	h.cfg.Observer.Opened(over.String())
	h.sessions.mu.Lock()
	if h.sessions.all == nil {
		h.sessions.all = make(map[*session]struct{})
	}
	h.sessions.all[s] = struct{}{}
	d := h.sessions.draining
	h.sessions.mu.Unlock()
	if d != nil {
		s.late = true
		s.sendAway(d.advice())
	}
}

// sendAway has the session tell its client to come back later, and end.
func (s *session) sendAway(why *fairlead.Error) {
	s.away.CompareAndSwap(nil, why) // who is too slow stays so
	if p := s.page(); p != nil {
		p.cancel(why)
		return
	}
	s.conn.Wake()
}

// reset breaks the session's I/O.
func (s *session) reset() {
	if p := s.page(); p != nil {
		p.hangUp()
		return
	}
	s.conn.Reset()
}

// end takes the session off the register; reason is why it ended.
func (s *session) end(reason fairlead.Code) {
	h := s.h
	defer h.sessions.remove(s) // whoever panics: a drain waits for it
	s.reader.Close()
	e := Ended{
		Transport: s.transport.String(), Remote: s.remote, Reason: reason, Resumed: s.resumed, Lasted: time.Since(time.Unix(0, s.since)),
		Events: s.events.Load(), Bytes: s.bytes.Load(),
	}
	e.Skipped, e.Gaps = s.passed()
	h.cfg.Observer.Closed(e)
	if s.lease != nil {
		s.lease.Ended(e)
	}
}

// remove takes a session off the register.
func (r *registry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
	if len(r.all) == 0 {
		for _, c := range r.empty {
			close(c)
		}
		r.empty = nil
	}
}

// lost is the reason of a session whose connection ended by err.
func (s *session) lost(err error) fairlead.Code {
	switch why := s.away.Load(); {
	case why != nil && err != fanout.ErrClosed: //nolint:errorlint // it is not wrapped
		return why.Code
	case err == fanout.ErrReset, err == fanout.ErrClosed: //nolint:errorlint // they are not wrapped
		return fairlead.Draining
	case err == fanout.ErrStalled: //nolint:errorlint // the same
		return fairlead.TooSlow
	case err == fanout.ErrSilent: //nolint:errorlint // the same
		return fairlead.DeadlineExceeded
	}
	if p, ok := errors.AsType[*fanout.PanicError](err); ok {
		s.h.cfg.Observer.Panicked(p.Value, p.Stack)
		return fairlead.Internal
	}
	return fairlead.Cancelled
}

// count notes an item that is being sent.
func (s *session) count(item *topic.Item) {
	gap := item.Kind == topic.KindGap
	s.trace(item)
	if item.Kind == topic.KindEvent {
		s.events.Add(1)
	}
	if gap {
		if s.rarely().gaps.Add(1) == 1 && s.events.Load() == 0 {
			s.missed(item)
		}
	}
	if item.Skipped > 0 {
		s.rarely().skipped.Add(item.Skipped)
	}
	if gap || item.Skipped > 0 {
		m := Missed{Transport: s.transport.String(), Topic: item.Log.Name(), Skipped: item.Skipped, Gap: gap}
		if gap {
			m.Lost = item.Gap.Skipped
		}
		s.h.cfg.Observer.Missed(m)
	}
}

// pageCall is what a session has whose handler asks for what comes: a page, or a
// Feed.
type pageCall struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	feed     bool
	buffered atomic.Int64 // bytes of events that a Feed's transport is sending

	mu   sync.Mutex
	hang func() // breaks its I/O; nil when the handler has returned
}

func (c *pageCall) hangUp() {
	c.cancel(errReset)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hang != nil {
		c.hang()
	}
}

// over says that the handler returns.
func (c *pageCall) over() {
	c.cancel(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hang = nil
}
