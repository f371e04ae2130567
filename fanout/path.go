package fanout

import "time"

// Path is what the kernel knows of the network to a peer (TCP_INFO of Linux).
type Path struct {
	RTT         time.Duration // a round trip, smoothed
	RTTVar      time.Duration // how much it varies
	Retransmits uint64        // segments that were sent again
	// Unanswered is for how long the peer has acknowledged nothing while segments
	// are sent to it again: 0 where all it was sent is acknowledged, or was sent only
	// now. A peer that is alive and does not read acknowledges all the same.
	Unanswered time.Duration
}

// Path asks the kernel for the path to the peer. ok is false where it is not known: of
// connections that no Engine serves, and those that are not TCP's.
func (c *Conn) Path() (p Path, ok bool) {
	if by := c.by.Load(); by != nil && by.path != nil {
		return by.path(c)
	}
	return Path{}, false
}
