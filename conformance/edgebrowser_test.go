package conformance_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestChromiumUsesTheWholeEdgeOnEachVersionOfHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		protocol, config string
		args             func(port int) []string
		streams, sockets string // as the access log has them
	}{
		{"http/1.1", "", func(int) []string { return []string{"--disable-http2", "--disable-quic"} }, "GET HTTP/1.1", "GET HTTP/1.1"},
		{"h2", "", func(int) []string { return []string{"--disable-quic"} }, "GET HTTP/2.0", "CONNECT HTTP/2.0"},
		{"h3", "http3: {websocket: true}\n", func(port int) []string {
			return []string{"--enable-quic", fmt.Sprint("--origin-to-force-quic-on=localhost:", port), "--enable-features=EnableWebsocketsOverHttp3"}
		}, "GET HTTP/3.0", "CONNECT HTTP/3.0"},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			t.Parallel()
			v := visitedEdge(t, edgePage, c.config)
			args := append(c.args(port(t, v.server.https)), "--ignore-certificate-errors-spki-list="+authority().spki)
			browser := browse(t, v.url(), args...)
			v.expectAll(c.protocol)
			browser.stop()
			if !strings.Contains(browser.errors(), "response: /topics/news zstd\n") {
				t.Errorf("the events came in another coding:\n%s", browser.errors())
			}
			v.expectLogged(c.streams, c.sockets)
		})
	}
}
