package proxy

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Transfer is what there is to see of one response's body, or of one upgraded
// connection, while it lasts.
type Transfer struct {
	// Kind is "body", "websocket", or "upgrade" for other protocols.
	Kind string
	// Remote is the client's address, of the request's RemoteAddr.
	Remote string
	// Since is when the upstream's header came.
	Since time.Time
	// ToClient and ToUpstream are the two directions. Of a body, ToUpstream is
	// the request's, as the transport takes it.
	ToClient, ToUpstream Flow
	// Unsent is how many bytes the kernel holds for the client and has not sent
	// (SIOCOUTQNSD). -1: not known, which it is for upgrades over plain TCP on
	// Linux only.
	Unsent int
}

// settled is how long a body must last before it is a Transfer, so that those
// of small answers come to no list, and a write before it counts as blocked.
const settled = time.Second

// Transfers returns at most limit of the upgraded connections, and of the
// bodies of responses that have lasted for a second. Those that have waited the
// longest for a client or an upstream to take what was written come first, then
// the oldest.
func (h *Handler) Transfers(limit int) []Transfer {
	now := time.Now()
	type candidate struct {
		t       *transfer
		waiting time.Duration
	}
	var found []candidate
	for _, t := range h.transfers.snapshot() {
		if t.kind != kindBody || now.Sub(t.since) >= settled {
			found = append(found, candidate{t, t.waiting(now)})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.waiting, a.waiting), a.t.since.Compare(b.t.since))
	})
	found = found[:max(0, min(limit, len(found)))]
	list := make([]Transfer, len(found))
	for i, c := range found {
		list[i] = c.t.at(now)
	}
	return list
}

// Backlog returns how many bytes there are here of all bodies of responses and
// of upgraded connections, read from one side and not yet written to the other
// as [Flow.Buffered] counts them, and how many of them have a write that has
// been in progress for a second.
func (h *Handler) Backlog() (buffered int64, blocked int) {
	now := time.Now()
	for _, t := range h.transfers.snapshot() {
		buffered += t.toClient.held.Load() + t.toUpstream.held.Load()
		if t.waiting(now) >= settled {
			blocked++
		}
	}
	return buffered, blocked
}

const (
	kindBody      = "body"
	kindWebSocket = "websocket"
	kindUpgrade   = "upgrade"
)

// transfer is the part of an exchange that others may look at.
type transfer struct {
	// Set before it is listed.
	kind   string
	remote string
	since  time.Time
	raw    syscall.RawConn // of the client; nil where there is none

	toClient, toUpstream flow

	place int // in the list; guarded by its mu
}

func (t *transfer) waiting(now time.Time) time.Duration {
	return max(t.toClient.waiting(now), t.toUpstream.waiting(now))
}

func (t *transfer) at(now time.Time) Transfer {
	s := Transfer{Kind: t.kind, Remote: t.remote, Since: t.since, ToClient: t.toClient.at(now), ToUpstream: t.toUpstream.at(now), Unsent: -1}
	if t.raw != nil {
		s.Unsent = unsent(t.raw)
	}
	return s
}

// setConn has the kernel asked about conn, if it shows its descriptor.
func (t *transfer) setConn(conn net.Conn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil { // else there is none below, or it is closed
		t.raw = raw
	}
}

// transfers are those in flight; as many as the server allows requests.
type transfers struct {
	mu   sync.Mutex
	list []*transfer // in no order
}

func (l *transfers) add(t *transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.place = len(l.list)
	l.list = append(l.list, t)
}

// remove ends what add began; a transfer that has no kind yet was not added.
func (l *transfers) remove(t *transfer) {
	if t.kind == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.list) - 1
	l.list[t.place] = l.list[last]
	l.list[t.place].place = t.place
	l.list[last] = nil
	l.list = l.list[:last]
}

// snapshot returns those in flight. Looking at them costs more than a copy of
// the list, and would hold up others.
func (l *transfers) snapshot() []*transfer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}
