package fanout

import (
	"sync/atomic"
	"time"
)

// Conn is a connection, as its session knows it. The zero value is ready to be
// given to [Engine.Add] or [Serve], once, and is best a field of the session: it
// must not be copied. Its methods may be called at any time, concurrently.
type Conn struct {
	woken  atomic.Bool // and not pulled since
	reset  atomic.Bool
	listed atomic.Bool // in the engine's list of those to look at
	// excused is for how long, in milliseconds from lastReceived on, the client's
	// silence does not count. It belongs to flow, and is here since there is room.
	excused uint32
	by      atomic.Pointer[owner] // nil until it is served, and when it is closed
	next    *Conn                 // in that list
	flow    flow                  // what the engine keeps; set before by is

	sent, received         atomic.Uint64
	lastSent, lastReceived atomic.Int64 // Unix nanoseconds
}

// owner is what serves a connection.
type owner struct {
	// wake has the session pulled, or the connection reset. It may be called again
	// before that was done.
	wake func(c *Conn)
	// depth returns Stats.Buffered and Unsent.
	depth  func(c *Conn) (buffered, unsent int)
	path   func(c *Conn) (Path, bool) // nil where it is not known
	engine bool
}

// Wake says that the session has something to send, or may have. It never blocks
// and costs little: it may be called with locks held.
func (c *Conn) Wake() {
	if c.woken.Load() || c.woken.Swap(true) {
		return
	}
	if by := c.by.Load(); by != nil {
		by.wake(c)
	}
}

// Reset closes the connection at once, with ErrReset.
func (c *Conn) Reset() {
	c.reset.Store(true)
	if by := c.by.Load(); by != nil { // also where it has been woken already
		by.wake(c)
	}
}

// Stats returns where the connection stands.
func (c *Conn) Stats() Stats {
	s := Stats{
		Sent: c.sent.Load(), Received: c.received.Load(), Unsent: -1,
		LastSent: time.Unix(0, c.lastSent.Load()), LastReceived: time.Unix(0, c.lastReceived.Load()),
	}
	if by := c.by.Load(); by != nil {
		s.Engine = by.engine
		s.Buffered, s.Unsent = by.depth(c)
	}
	return s
}

// LastSent returns when a byte was sent, or the connection began to be served; the
// zero time before.
func (c *Conn) LastSent() time.Time {
	at := c.lastSent.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// begin notes that the connection is served from now on.
func (c *Conn) begin(by *owner) {
	now := time.Now().UnixNano()
	c.lastSent.Store(now)
	c.lastReceived.Store(now)
	c.by.Store(by)
}
