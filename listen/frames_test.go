package listen_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// floods are frames that carry nothing.
var floods = map[string]func(f *http2.Framer) error{
	"PING":     func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) },
	"SETTINGS": func(f *http2.Framer) error { return f.WriteSettings() },
	"PRIORITY": func(f *http2.Framer) error { return f.WritePriority(1, http2.PriorityParam{Weight: 1}) },
	"unknown":  func(f *http2.Framer) error { return f.WriteRawFrame(0xbb, 0, 0, nil) },
}

func TestAFloodOfFramesThatCarryNothingEndsTheConnection(t *testing.T) {
	for name, write := range floods {
		v := attacked(t)
		before := heap()
		c, ended := v.dial(t)
		var many bytes.Buffer
		f := http2.NewFramer(&many, nil)
		for range 2000 {
			c.must(write(f))
		}
		v.flood(t, 1000, func(int) error {
			_, err := c.conn.Write(many.Bytes())
			return err
		})
		select {
		case <-ended:
		case <-t.Context().Done():
			t.Errorf("%s: the connection goes on", name)
		}
		v.answers(t)
		grownBy(t, before, 32<<20)
	}
}

func TestAFloodOverTLSEndsTheConnection(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	conf := h.tls()
	conf.NextProtos = []string{"h2"}
	for _, honest := range []bool{true, false} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), conf) //nolint:noctx // of the test
		if err != nil {
			t.Fatal(err)
		}
		c := begin2(t, conn)
		for i := 0; i < 100 || !honest; i++ {
			if err := c.WritePing(false, [8]byte{}); err != nil {
				break
			}
		}
		if honest {
			c.ask("GET", "/", false)
			if f, ok := c.frame().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "200" {
				t.Errorf("answered by %v", f)
			}
		} else {
			_, _ = io.Copy(io.Discard, conn) // to its end
		}
		_ = conn.Close()
	}
	// What begins otherwise is no HTTP/2.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), conf) //nolint:noctx // of the test
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, plain+plain)
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("%q", answer)
	}
	_ = conn.Close()
}

func TestTheFramesOfABalancerAreNotCounted(t *testing.T) {
	simulated(t, func(t *testing.T) {
		l := &from{memnet.New(), func() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }}
		exempt := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		serveOn(t, l, listen.Config{Limits: listen.Limits{Exempt: exempt}}, func(http.ResponseWriter, *http.Request) {})
		c := dial2(t, l.Network)
		for range 3000 {
			c.must(c.WritePriority(1, http2.PriorityParam{Weight: 1}))
		}
		c.ask("GET", "/", false)
		if f, ok := c.frame().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "200" {
			t.Errorf("answered by %v", f)
		}
	})
}

func TestAConnectionThatIsRefusedMayNotSendMuch(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{Limits: listen.Limits{Connections: 1}}, func(http.ResponseWriter, *http.Request) {})
		dial1(t, n)
		synctest.Wait()
		c := dial2(t, n)
		go func() { _, _ = io.Copy(io.Discard, c.conn) }()
		sent := 0
		for ; sent < 2000 && c.WriteWindowUpdate(0, 1) == nil; sent++ {
			synctest.Wait()
		}
		if sent < refusedAtOnce/2 || sent > refusedAtOnce {
			t.Errorf("%d frames were taken", sent)
		}
	})
}

// refusedAtOnce is what a connection that is refused may send.
const refusedAtOnce = 100

func TestAClientIsBlamed(t *testing.T) {
	simulated(t, func(t *testing.T) {
		l := &from{memnet.New(), func() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }}
		serveOn(t, l, listen.Config{Limits: listen.Limits{Rate: 20}}, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/bomb" {
				listen.Blame(r.Context())
			}
		})
		c := dial1(t, l.Network)
		c.send(plain)
		if resp, _ := c.answer("GET"); resp.Close {
			t.Error("another request ends the connection")
		}
		c.send("GET /bomb HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := c.answer("GET"); !resp.Close || c.ended() == nil {
			t.Error("the connection is kept")
		}
		for i := range 20 { // of which 1 was taken, and 2 are to pay
			c := dial1(t, l.Network)
			c.send(plain)
			if resp, _ := c.answer("GET"); (resp.StatusCode == http.StatusOK) != (i < 17) {
				t.Errorf("%d: %s", i, resp.Status)
			}
		}
	})
	listen.Blame(t.Context()) // of no server
}
