package fanout

import (
	"time"

	"golang.org/x/sys/unix"
)

// path is owner.path, and may be called by anybody.
func (s *shard) path(c *Conn) (Path, bool) {
	f := &c.flow
	s.closing.RLock()
	defer s.closing.RUnlock()
	if f.fd < 0 {
		return Path{}, false
	}
	info, err := unix.GetsockoptTCPInfo(int(f.fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Path{}, false
	}
	p := Path{
		RTT: time.Duration(info.Rtt) * time.Microsecond, RTTVar: time.Duration(info.Rttvar) * time.Microsecond,
		Retransmits: uint64(info.Total_retrans),
	}
	// Retransmits is how often in a row the timer for an acknowledgement ran out; a
	// closed window makes it run out, too, but then nothing is unacknowledged.
	if info.Unacked > 0 && info.Retransmits > 0 {
		p.Unanswered = time.Duration(info.Last_ack_recv) * time.Millisecond
	}
	return p, true
}
