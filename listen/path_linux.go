package listen

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// path asks the kernel (TCP_INFO).
func (c *tcpConn) path() (Path, bool) {
	below, ok := c.Conn.(syscall.Conn)
	if !ok {
		return Path{}, false
	}
	raw, err := below.SyscallConn()
	if err != nil {
		return Path{}, false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return Path{}, false
	}
	p := Path{
		RTT: time.Duration(info.Rtt) * time.Microsecond, RTTVar: time.Duration(info.Rttvar) * time.Microsecond, Retransmits: uint64(info.Total_retrans),
		Sent: info.Bytes_acked, Received: info.Bytes_received,
	}
	// Retransmits is how often in a row the timer for an acknowledgement ran out; a
	// closed window makes it run out, too, but then nothing is unacknowledged.
	if info.Unacked > 0 && info.Retransmits > 0 {
		p.Unanswered = time.Duration(info.Last_ack_recv) * time.Millisecond
	}
	return p, true
}
