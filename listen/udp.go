package listen

import (
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// QUIC's packets for all clients go through the buffers of one socket. This is
// what quic-go asks the system for.
const wantedBuffer = 7 << 20

// quietly keeps quic-go from printing its own warning past the logger; only its
// environment can.
var quietly = sync.OnceFunc(func() { _ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") })

// warnBuffers logs what to do if the system allows smaller buffers than quic-go
// has asked for.
func warnBuffers(udp net.PacketConn, log *slog.Logger) {
	c, ok := udp.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	receive, send, ok := bufferSizes(raw)
	if !ok || receive >= wantedBuffer && send >= wantedBuffer {
		return
	}
	log.Warn("the buffers of the UDP socket are small: HTTP/3 loses packets under load; raise the limits with"+
		" sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000",
		"receive", receive, "send", send, "wanted", wantedBuffer)
}
