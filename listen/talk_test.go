package listen_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// simulated runs f under simulated time. A connection of HTTP/2 that ended in an
// error is closed by its server a second later.
func simulated(t *testing.T, f func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(2 * time.Second) })
		f(t)
	})
}

// serve serves h in memory until the test, or its bubble, ends.
func serve(t testing.TB, cfg listen.Config, h http.HandlerFunc) *memnet.Network {
	t.Helper()
	n := memnet.New()
	serveOn(t, n, cfg, h)
	return n
}

func serveOn(t testing.TB, l net.Listener, cfg listen.Config, h http.HandlerFunc) *listen.Server {
	t.Helper()
	cfg.Handler = h
	s, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l, nil); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = s.Close()
		serving.Wait()
	})
	return s
}

// talk1 is a connection of HTTP/1.1.
type talk1 struct {
	net.Conn

	t *testing.T
	r *bufio.Reader
}

func dial1(t *testing.T, n *memnet.Network) *talk1 {
	t.Helper()
	c, err := n.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &talk1{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (c *talk1) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send %.30q: %v", text, err)
	}
}

// answer returns the next response and its body.
func (c *talk1) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("body: %v", err)
	}
	return resp, string(body)
}

// ended reports how the connection ended, if nothing more came on it.
func (c *talk1) ended() error {
	_, err := c.r.ReadByte()
	return err
}

// talk2 is a connection of HTTP/2 without TLS, seen frame by frame.
type talk2 struct {
	*http2.Framer

	t    *testing.T
	conn net.Conn
	last uint32
}

func dial2(t *testing.T, n *memnet.Network, settings ...http2.Setting) *talk2 {
	t.Helper()
	conn, err := n.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return begin2(t, conn, settings...)
}

func begin2(t *testing.T, conn net.Conn, settings ...http2.Setting) *talk2 {
	t.Helper()
	c := &talk2{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err := io.WriteString(conn, http2.ClientPreface)
	c.must(err)
	c.must(c.WriteSettings(settings...))
	return c
}

func (c *talk2) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// ask sends a request and returns its stream. fields are names and values; one
// without a body ends with its header.
func (c *talk2) ask(method, path string, body bool, fields ...string) uint32 {
	c.t.Helper()
	id := c.last + 1
	c.last += 2
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	all := append([]string{":method", method, ":scheme", "http", ":authority", "any.test", ":path", path}, fields...)
	for i := 0; i < len(all); i += 2 {
		c.must(e.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}))
	}
	c.must(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: !body}))
	return id
}

// frame returns the next frame, of those that are not about the connection's
// own business, or nil at its end.
func (c *talk2) frame() http2.Frame {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.must(c.WriteSettingsAck())
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.must(c.WritePing(true, f.Data))
			}
		case *http2.WindowUpdateFrame:
		default:
			return f
		}
	}
}

// rest lets time pass, in which the server only asks whether the client is there:
// every 15 s, so that d is better no multiple of them.
func (c *talk2) rest(d time.Duration) {
	c.t.Helper()
	c.must(c.conn.SetReadDeadline(time.Now().Add(d)))
	if f := c.frame(); f != nil {
		c.t.Fatalf("%v", f)
	}
	c.must(c.conn.SetReadDeadline(time.Time{}))
}

// from gives the connections of a network addresses.
type from struct {
	*memnet.Network

	addr func() net.Addr
}

func (l *from) Accept() (net.Conn, error) {
	c, err := l.Network.Accept()
	if err != nil {
		return nil, err
	}
	return &fromConn{c, l.addr()}, nil
}

type fromConn struct {
	net.Conn

	addr net.Addr
}

func (c *fromConn) RemoteAddr() net.Addr { return c.addr }
