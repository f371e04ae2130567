//go:build !linux

package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// udpSocket is a UDP socket that cannot change hands here.
type udpSocket struct {
	*net.UDPConn

	mark mark
}

func newUDPSocket(udp *net.UDPConn, previous *os.File) (*udpSocket, error) {
	if previous != nil {
		return nil, fmt.Errorf("listen: take QUIC over: %w", errors.ErrUnsupported)
	}
	return &udpSocket{UDPConn: udp, mark: newMark(nil)}, nil
}

func (*udpSocket) handOver() (*os.File, error) {
	return nil, fmt.Errorf("listen: hand over QUIC: %w", errors.ErrUnsupported)
}
