package listen_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

func TestAConnectionThatIsKeptSaysForHowLong(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/close":
				w.Header().Set("Connection", "close")
			case "/empty":
				return
			case "/switch":
				w.Header().Set("Connection", "upgrade")
				w.WriteHeader(http.StatusSwitchingProtocols)
				return
			}
			_, _ = io.WriteString(w, "here")
		})
		for _, c := range []struct{ request, want string }{
			{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "timeout=75"},
			{"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n", "timeout=75"},
			{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", ""}, // of which the body was not read
			{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", ""},
			{"GET /close HTTP/1.1\r\nHost: a\r\n\r\n", ""},
			{"GET / HTTP/1.0\r\n\r\n", ""},
			{"GET /switch HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		} {
			conn := dial1(t, n)
			conn.send(c.request)
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatalf("%q: %v", c.request, err)
			}
			if got := resp.Header.Get("Keep-Alive"); got != c.want {
				t.Errorf("%q: Keep-Alive: %q, want %q", c.request, got, c.want)
			}
			_ = conn.Close()
		}

		conn := dial1(t, n)
		conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		conn.answer("GET")
		began := time.Now()
		if err := conn.ended(); err != io.EOF || time.Since(began) != 75*time.Second {
			t.Errorf("idle: %v after %v", err, time.Since(began))
		}
	})
}

func TestAnOldConnectionIsAskedToEndAndItsOtherStreamsGoOn(t *testing.T) {
	simulated(t, func(t *testing.T) {
		events := make(chan string)
		n := serve(t, listen.Config{Timeouts: listen.Timeouts{MaxAge: time.Minute, Idle: time.Hour}}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/events" {
				return
			}
			_ = http.NewResponseController(w).Flush()
			for e := range events {
				_, _ = io.WriteString(w, e)
				_ = http.NewResponseController(w).Flush()
			}
		})

		one := dial1(t, n)
		two := dial2(t, n)
		for range 2 {
			one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if resp, _ := one.answer("GET"); resp.Close {
				t.Error("a young connection is to end")
			}
		}
		stream := two.ask("GET", "/events", false)
		if f, ok := two.frame().(*http2.MetaHeadersFrame); !ok || f.StreamID != stream {
			t.Fatal("no header")
		}
		two.rest(67 * time.Second) // more than a minute and 10 %

		one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := one.answer("GET"); !resp.Close || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("an old connection stays: %v", resp.Header)
		}
		if err := one.ended(); err != io.EOF {
			t.Error(err)
		}

		two.ask("GET", "/", false)
		var goaway, answered bool
		for !goaway || !answered {
			switch f := two.frame().(type) {
			case *http2.GoAwayFrame:
				goaway = f.ErrCode == http2.ErrCodeNo
			case *http2.MetaHeadersFrame:
				answered = f.PseudoValue("status") == "200"
			default:
				t.Fatalf("%v", f)
			}
		}
		two.rest(time.Minute)
		events <- "still here"
		if f, ok := two.frame().(*http2.DataFrame); !ok || string(f.Data()) != "still here" {
			t.Errorf("%v", f)
		}
		close(events)
		if f, ok := two.frame().(*http2.DataFrame); !ok || !f.StreamEnded() || two.frame() != nil {
			t.Errorf("%v", f)
		}
	})
}

func TestConnectionsDoNotAllEndAtOneTime(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{Timeouts: listen.Timeouts{MaxAge: 100 * time.Second}}, func(http.ResponseWriter, *http.Request) {})
		var ages []time.Duration
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 20 {
			c := dial1(t, n)
			all.Go(func() {
				began := time.Now()
				for {
					c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					if resp, _ := c.answer("GET"); resp.Close {
						break
					}
					time.Sleep(time.Second)
				}
				mu.Lock()
				defer mu.Unlock()
				ages = append(ages, time.Since(began))
			})
		}
		all.Wait()
		slices.Sort(ages)
		if ages[0] < 90*time.Second || ages[19] > 111*time.Second || ages[0] == ages[19] {
			t.Errorf("they ended after %v", ages)
		}
	})
}

func TestEarlyHintsAndInfoPassOverEachProtocol(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			info, ok := listen.ConnInfoOf(r.Context())
			if !ok || info.Since.IsZero() || info.Requests != 1 {
				t.Errorf("%s: %+v, %v", protocol, info, ok)
			}
			w.Header().Set("Link", "</style.css>; rel=preload; as=style")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.Copy(w, r.Body)
		})
		tr := &http.Transport{DialContext: n.Dial, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(protocol == "HTTP/1.1")
		tr.Protocols.SetUnencryptedHTTP2(protocol == "HTTP/2.0")
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, strconv.Itoa(code)+" "+h.Get("Link"))
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any.test/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.Proto != protocol || string(body) != "body" || err != nil || resp.ContentLength != 4 {
			t.Errorf("%s: %q (%d), %v", resp.Proto, body, resp.ContentLength, err)
		}
		if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload; as=style" {
			t.Errorf("%s: %q", protocol, hints)
		}
	}
}

func TestALargeHeaderIsRefused(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{Limits: listen.Limits{HeaderBytes: 8 << 10}}, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
		large := strings.Repeat("a", 9<<10)

		one := dial1(t, n)
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = io.WriteString(one, "GET / HTTP/1.1\r\nHost: a\r\nCookie: "+large+large+"\r\n\r\n") })
		if resp, _ := one.answer("GET"); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("HTTP/1.1: %s", resp.Status)
		}
		_ = one.Close()
		sending.Wait()

		two := dial2(t, n)
		two.ask("GET", "/", false, "cookie", large[:5<<10], "cookie", large[:5<<10])
		if f, ok := two.frame().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "431" {
			t.Errorf("HTTP/2: %v", f)
		}
	})
}

func TestAFileAndAFlushPassAllWriters(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.txt")
	want := strings.Repeat("all of the file\n", 10_000)
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok {
			t.Errorf("%s: nothing can be flushed", r.Proto)
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		http.ServeFile(w, r, file)
		w.(http.Flusher).Flush()
	})
	for _, second := range []bool{false, true} {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!second)
		tr.Protocols.SetUnencryptedHTTP2(second)
		for _, body := range []io.Reader{nil, strings.NewReader("a body")} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(got) != want || err != nil || (resp.ProtoMajor == 2) != second {
				t.Errorf("%s: %d bytes, %v", resp.Proto, len(got), err)
			}
		}
		tr.CloseIdleConnections()
	}
}

func TestNothingIsSaidToBeKeptByAServerThatShutsDown(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := memnet.New()
		release := make(chan struct{})
		s := serveOn(t, n, listen.Config{}, func(_ http.ResponseWriter, _ *http.Request) { <-release })
		c := dial1(t, n)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		var stopping sync.WaitGroup
		stopping.Go(func() {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(release)
		if resp, _ := c.answer("GET"); !resp.Close || resp.Header.Get("Keep-Alive") != "" {
			t.Errorf("%v", resp.Header)
		}
		stopping.Wait()
	})
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
