package daemon_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

// upgraded opens a WebSocket by hand, and returns its connection after the handshake.
func upgraded(t *testing.T, p *program, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil) //nolint:bodyclose // it has none
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	return conn
}

func TestARecordSaysWhoseDoingTheEndOfAWebSocketWas(t *testing.T) {
	leaves := func(c net.Conn) { _ = c.Close() }
	resets := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }
	sends := func(frame ...byte) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Write(frame)
			for buf := make([]byte, 1000); ; { // until the close frame
				if n, err := c.Read(buf); err != nil || n > 0 && bytes.Contains(buf[:n], []byte{0x03}) {
					break
				}
			}
			_ = c.Close()
		}
	}
	breaks := sends(0x81, 0x01, 'x') // without a mask
	tooMuch := sends(0x81, 0xff, 0, 0, 0, 0x7f, 0, 0, 0, 0, 1, 2, 3, 4)
	for name, engine := range map[string]string{"engine": "true", "handler": "false"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, socketUpstream(t)+"routes: [{path: /echo, upstream: u}]\ntopics: [{match: \"**\"}]\nfanout: {engine: "+engine+"}\n", daemon.Options{})
			answer(t, http.MethodPost, p.http+"/topics/a", "one", "Content-Type", "text/plain")
			for _, path := range []string{"/echo", "/topics/a?after=earliest"} {
				for i, c := range []struct {
					end    func(net.Conn)
					reason string
				}{{leaves, "cancelled"}, {breaks, "invalid_argument"}, {tooMuch, "too_large"}, {resets, "cancelled"}} {
					c.end(upgraded(t, p, path))
					of, _, _ := strings.Cut(path, "?")
					eventually(t, "it is logged", func() bool { return len(records(t, p, "request", "path", of)) == i+1+strings.Count(path, "?") })
					all := records(t, p, "request", "path", of)
					if r := all[len(all)-1]; r["reason"] != c.reason {
						t.Errorf("%s, case %d: %v", path, i, r)
					}
				}
			}
		})
	}
}

func TestALongPollWhoseClientLeavesIsCancelled(t *testing.T) {
	p := start(t, "topics: [{match: \"**\"}]\n", daemon.Options{})
	answer(t, http.MethodPost, p.http+"/topics/a", "one", "Content-Type", "text/plain")
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /topics/a?after=latest&wait=20 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n")
	eventually(t, "it waits", func() bool { return len(connections(t, p).Sessions) == 1 })
	_ = conn.Close()
	eventually(t, "it is told", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
		return strings.Contains(text, `fairlead_sessions_closed_total{reason="cancelled",transport="poll"} 1`)
	})
}
