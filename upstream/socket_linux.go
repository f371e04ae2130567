//go:build amd64 || arm64

package upstream

import (
	"syscall"
	"time"
	"unsafe"
)

// tcpInfo is the head of Linux's struct tcp_info, to what kernels tell since
// 4.1.
type tcpInfo struct {
	syscall.TCPInfo // 104 bytes

	_          [2]uint64 // pacing rates
	BytesAcked uint64
}

// States of include/net/tcp_states.h.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// How long examine waits for a reset that must be under way: twice the round
// trip, within these bounds. The request has failed either way.
const (
	minPatience = 10 * time.Millisecond
	maxPatience = 100 * time.Millisecond
)

// silent reports whether there is nothing to read, no end and no error.
func silent(raw syscall.RawConn) bool {
	var ok bool
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = err == syscall.EAGAIN //nolint:errorlint // a bare errno
	})
	return err == nil && ok
}

// provable reports whether refused can judge the connection, and how many
// bytes count as acknowledged on it so far. Multipath TCP cannot be judged:
// TCP_INFO tells of one of its paths.
func provable(raw syscall.RawConn) (acked uint64, ok bool) {
	_ = raw.Control(func(fd uintptr) {
		proto, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PROTOCOL)
		if err != nil || proto != syscall.IPPROTO_TCP {
			return
		}
		var info tcpInfo
		ok = getTCPInfo(fd, &info)
		acked = info.BytesAcked
	})
	return acked, ok
}

// refused reports whether the peer had closed the connection before it
// received any byte beyond acked, as the comment of socket tells.
func refused(raw syscall.RawConn, acked uint64) bool {
	var deadline time.Time
	for pause := 25 * time.Microsecond; ; pause *= 2 {
		var proven, pending bool
		var patience time.Duration
		err := raw.Control(func(fd uintptr) {
			var info tcpInfo
			// A kernel that counts nothing (an emulated one) proves nothing.
			if !getTCPInfo(fd, &info) || info.BytesAcked != acked || acked == 0 {
				return
			}
			switch info.State {
			case tcpClose:
				errno, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
				proven = err == nil && syscall.Errno(errno) == syscall.EPIPE //nolint:gosec // an errno is small
			case tcpCloseWait:
				pending = !deadline.IsZero() || ignoreAborts(fd)
				patience = min(max(minPatience, 2*time.Duration(info.Rtt)*time.Microsecond), maxPatience)
			}
		})
		if err != nil || !pending {
			return err == nil && proven
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(patience)
		}
		if now.After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
}

// ignoreAborts makes the kernel drop resets that have an ACK flag, which are
// those of a process and not of a kernel without one. The connection is of no
// use any more: its peer has ended its side without an answer.
func ignoreAborts(fd uintptr) bool {
	const flags, rstAck = 13, 0x14 // RFC 9293 §3.1: the flags' place in the header
	filter := [...]syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
		{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: rstAck},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, K: rstAck, Jf: 1},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 1<<32 - 1},
	}
	prog := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := syscall.Syscall6(syscall.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER,
		uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0) //nolint:gosec // syscall has no wrapper
	return errno == 0
}

func getTCPInfo(fd uintptr, info *tcpInfo) bool {
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // syscall has no wrapper
	return errno == 0 && size == uint32(unsafe.Sizeof(*info))
}
