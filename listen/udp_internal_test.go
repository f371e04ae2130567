package listen

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestSmallBuffersAreWarnedOfWithWhatToSet(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if err = udp.SetReadBuffer(8192); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	warnBuffers(udp, slog.New(slog.NewTextHandler(&log, nil)))
	if s := log.String(); !strings.Contains(s, "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000") || !strings.Contains(s, "receive=16384") {
		t.Errorf("log: %s", s)
	}
}

func TestClientsShowTheirAddressWhenManyHandshakesAreIncomplete(t *testing.T) {
	t.Parallel()
	s := new(Server)
	q := newQUIC(s, new(net.UDPConn))
	if q.transport.VerifySourceAddress(nil) {
		t.Error("a client of a quiet server is asked for a round trip more")
	}
	q.shaking.Store(maxShaking)
	if !q.transport.VerifySourceAddress(nil) {
		t.Error("a client of a server with many incomplete handshakes is not asked")
	}
}
