package upstream

import (
	"errors"
	"net"
	"time"
)

// HTTP/2 carries no Upgrade (RFC 9113 §8.2.2), and net/http's client no extended
// CONNECT (RFC 8441). So requests with that field go over connections of their
// own to endpoints that may speak HTTP/2: by TLS with ALPN that offers HTTP/1.1
// alone, or, for h2c, to the same address in the hope that it speaks both, as most
// servers do. Others are not sent on these, since they may need HTTP/2, such as
// gRPC. They wait in a queue of their own, so that neither kind waits for a
// connection that only the other can use.

// makeRoomLocked closes a connection whose place is needed: the probe, or one
// without requests that those who wait cannot use. It reports whether there was
// one.
func (m *member) makeRoomLocked(upgrade bool) bool {
	if c := m.probing; c != nil {
		m.closeLocked(c, ClosedIdleLocal, "the place of the connection that only showed when the peer closes it was needed")
		return true
	}
	if m.queueOf(upgrade).Len() == 0 {
		return false
	}
	others := m.idle
	if upgrade {
		others = m.multi
	}
	for _, c := range others {
		if c.active == 0 && c.spare != upgrade {
			m.closeLocked(c, ClosedIdleLocal, "it was idle, and a request that it cannot carry needed its place")
			return true
		}
	}
	return false
}

// upgradeFailed notes that there is no connection for upgrades. A peer that
// declined by an alert of TLS may speak nothing but HTTP/2, and is well.
func (m *member) upgradeFailed(err error, result string, burst int) {
	m.mu.Lock()
	m.shifting--
	if m.shifting == 0 {
		m.failQueueLocked(true, err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		m.dialing--
		m.pool.counts.dialed(result)
		m.pool.events.add(Event{Kind: "dial_failed", Endpoint: m.key, Reason: result, Why: plainText(err)})
		m.wantLocked(time.Now())
		m.unlock()
		return
	}
	m.unlock()
	m.dialFailed(err, result, burst)
}
