package listen

import (
	"time"
)

// Path is what the system or QUIC knows of the network to a client.
type Path struct {
	RTT         time.Duration // a round trip, smoothed
	RTTVar      time.Duration // how much it varies
	Retransmits uint64        // TCP's segments that were sent again; QUIC's packets that were lost
	// Unanswered is for how long the client has acknowledged nothing while segments
	// are sent to it again: 0 where there are none, and of QUIC, which soon ends such
	// a connection.
	Unanswered time.Duration
	// Sent and Received are bytes: TCP's that the client has acknowledged, and those
	// that came, with what TLS adds; QUIC's of all packets.
	Sent, Received uint64
}

// ConnStatus is a connection as it stands.
type ConnStatus struct {
	Remote   string
	Protocol int           // major version of HTTP; 0: no request has come yet
	Since    time.Time     // when it was accepted
	Version  uint16        // of TLS, as crypto/tls numbers them; 0: none, or no request yet
	Resumed  bool          // its session of TLS
	Requests int64         // so far
	Active   int           // of them, those being served
	Idle     time.Duration // since the last request ended; 0 while there are some, and before the first
	Path     *Path         // nil where it is not known
}

// Connections returns how the connections stand, the newest first, at most so many.
// Those that were detached are not among them (see [Detach]).
func (s *Server) Connections(most int) []ConnStatus {
	g := s.gate
	var found []*connection
	var protocols []uint8
	g.mu.Lock()
	for c := g.all; c != nil && len(found) < most; c = c.next {
		found, protocols = append(found, c), append(protocols, c.protocol)
	}
	g.mu.Unlock()
	all := make([]ConnStatus, len(found))
	for i, c := range found {
		how := c.tls.Load()
		one := ConnStatus{
			Remote: c.self.remote(), Protocol: int(protocols[i]), Since: c.since, Requests: c.requests.Load(), Active: int(c.active.Load()),
			Version: uint16(how), Resumed: how&resumedBit != 0, //nolint:gosec // the lower half
		}
		if one.Active == 0 && one.Requests > 0 {
			one.Idle = time.Since(c.since) - time.Duration(c.rested.Load())
		}
		if p, ok := c.self.path(); ok {
			one.Path = &p
		}
		all[i] = one
	}
	return all
}

// Listed returns how many connections there are of which Connections tells.
func (s *Server) Listed() int {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return s.gate.listed
}

func (c *quicConn) path() (Path, bool) {
	if c.connection.shaken.Load() == 0 {
		return Path{}, false
	}
	s := c.conn.ConnectionStats()
	return Path{RTT: s.SmoothedRTT, RTTVar: s.MeanDeviation, Retransmits: s.PacketsLost, Sent: s.BytesSent, Received: s.BytesReceived}, true
}
