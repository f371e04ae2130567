//go:build amd64 || arm64

package upstream_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestAPeerOnHTTP2ThatAcknowledgesNothingIsGivenUpAfterThirtySeconds(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	const tcpUserTimeout = 18 // include/uapi/linux/tcp.h
	for scheme, want := range map[string]int{"h2c": 30_000, "http": 0} {
		var dialed net.Conn
		p, err := upstream.New(upstream.Config{Endpoints: []string{strings.Replace(s.URL, "http", scheme, 1)}, Replaces: true,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, network, address)
				dialed = c
				return c, err
			}})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any/", nil)
		res, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := dialed.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout); got != want || err != nil {
				t.Errorf("%s: %d ms, %v", scheme, got, err)
			}
		})
		_ = res.Body.Close()
		p.Close()
	}
}
