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

// patience is how long a request that failed waits for the reset that must be
// on its way: a round trip within a region.
const patience = 10 * time.Millisecond

// silent reports whether there is nothing to read, no end and no error.
func silent(fd uintptr) bool {
	var b byte
	const flags = syscall.MSG_PEEK | syscall.MSG_DONTWAIT
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
		uintptr(unsafe.Pointer(&b)), 1, flags, 0, 0) //nolint:gosec // syscall.Recvfrom costs more; this never blocks
	return errno == syscall.EAGAIN
}

// setUserTimeout sets for how long data may stay unacknowledged. One that is not
// set is the system's, which is longer.
func setUserTimeout(fd uintptr, d time.Duration) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}

const tcpUserTimeout = 18 // include/uapi/linux/tcp.h; package syscall has no name for it

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

// look asks the kernel of a connection on which a request has been begun, as
// the comment of socket tells; acked is what bytes_acked was before. The first
// look that sees the FIN makes the kernel drop resets by a process.
func look(raw syscall.RawConn, acked uint64) peerState {
	state := peerOpen
	_ = raw.Control(func(fd uintptr) {
		switch tcpState(fd, acked) {
		case tcpClose:
			state = peerReset
		case tcpCloseWait:
			state = peerUnclear
			if ignoreAborts(fd) && tcpState(fd, acked) == tcpCloseWait {
				state = peerClosed
			}
		}
	})
	return state
}

// tcpState returns the connection's state, or 0 if another number of bytes
// has been acknowledged. A kernel that counts none (an emulated one) proves
// nothing.
func tcpState(fd uintptr, acked uint64) uint8 {
	var info tcpInfo
	if !getTCPInfo(fd, &info) || info.BytesAcked != acked || acked == 0 {
		return 0
	}
	return info.State
}

// refused reports whether the peer had closed the connection before it
// received any byte beyond acked, if that can be told for good. It takes the
// socket's error.
func refused(raw syscall.RawConn, acked uint64) (final, proven bool) {
	start := time.Now()
	for pause := 25 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		switch look(raw, acked) {
		case peerReset:
			err := raw.Control(func(fd uintptr) {
				errno, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
				drops, counted := dropped(fd)
				proven = err == nil && syscall.Errno(errno) == syscall.EPIPE && counted && drops == 0 //nolint:gosec // an errno is small
			})
			return true, err == nil && proven
		case peerClosed:
			if time.Since(start) > patience {
				return true, false
			}
			time.Sleep(pause)
		case peerUnclear:
			return true, false
		default:
			return false, false
		}
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

// dropped returns how many segments the kernel has dropped for the socket,
// those included that ignoreAborts made it drop.
func dropped(fd uintptr) (n uint32, ok bool) {
	const soMeminfo, vars, drops = 55, 9, 8 // include/uapi/linux/sock_diag.h
	var mem [vars]uint32
	size := uint32(unsafe.Sizeof(mem))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soMeminfo,
		uintptr(unsafe.Pointer(&mem)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // syscall has no wrapper
	return mem[drops], errno == 0 && size == uint32(unsafe.Sizeof(mem))
}

func getTCPInfo(fd uintptr, info *tcpInfo) bool {
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // syscall has no wrapper
	return errno == 0 && size == uint32(unsafe.Sizeof(*info))
}
