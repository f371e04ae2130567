package daemon

import (
	"sync"

	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
)

// maxTracedConnections is how many connections may be open of whose handshake there is
// a span: of a hundredth, those of 400,000.
const maxTracedConnections = 4096

// tracedConnections are those that are open, with TLS, and recorded.
type tracedConnections struct {
	mu  sync.RWMutex
	all map[clientConnection]*observe.Connection // at most maxTracedConnections
}

// clientConnection names a connection while it is open. Only one listener, https, has
// TLS, so that none of another one has the same name.
type clientConnection struct {
	remote string
	quic   bool
}

// shaken makes the span of a handshake.
func (d *daemon) shaken(listener string, h *listen.Handshake) {
	if d.tracing == nil {
		return
	}
	c := d.tracing.Handshake(observe.Handshake{Listener: listener, Took: h.Took, Version: tlsVersion(h.Version), QUIC: h.QUIC, Resumed: h.Resumed})
	if c == nil {
		return
	}
	t := &d.traced
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[clientConnection]*observe.Connection)
	}
	if len(t.all) == maxTracedConnections {
		for one := range t.all { // any: of one over QUIC that has moved, the end is not known here
			delete(t.all, one)
			break
		}
	}
	t.all[clientConnection{h.Remote, h.QUIC}] = c
}

// left makes the span of a connection's end, if there is one of its handshake.
func (d *daemon) left(e *listen.Ended) {
	if d.tracing == nil || !e.TLS {
		return
	}
	t, at := &d.traced, clientConnection{e.Remote, e.Protocol == 3}
	t.mu.Lock()
	c := t.all[at]
	delete(t.all, at)
	t.mu.Unlock()
	if c != nil {
		c.End(string(e.Reason), e.Protocol, e.Requests, e.Lasted)
	}
}

// of returns the connection that a request came on; nil when nothing of it is recorded.
func (t *tracedConnections) of(remote string, protocol int) *observe.Connection {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.all[clientConnection{remote, protocol == 3}]
}
