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
	return Path{
		RTT: time.Duration(info.Rtt) * time.Microsecond, RTTVar: time.Duration(info.Rttvar) * time.Microsecond, Retransmits: uint64(info.Total_retrans),
	}, true
}
