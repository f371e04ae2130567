package listen_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

const attackers = 200

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// grownBy fails if what is in use grew by more than most since before.
func grownBy(t *testing.T, before, most uint64) {
	t.Helper()
	if now := heap(); now > before+most {
		t.Errorf("the heap grew by %d KiB, more than %d", (now-before)>>10, most>>10)
	}
}

// slowly has clients send the parts of a text, ten seconds apart, until their
// connections end, asks for a page meanwhile, and returns when the connections
// ended.
func slowly(t *testing.T, n *memnet.Network, parts ...string) []time.Duration {
	t.Helper()
	began := time.Now()
	ended := make([]time.Duration, attackers)
	var all sync.WaitGroup
	for i := range ended {
		conn, err := n.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for _, part := range parts {
				if _, err := io.WriteString(conn, part); err != nil {
					break
				}
				time.Sleep(9 * time.Second)
			}
		})
		all.Go(func() {
			_, _ = io.Copy(io.Discard, conn) // to its end
			ended[i] = time.Since(began)
			_ = conn.Close()
		})
	}
	synctest.Wait()
	page := dial1(t, n)
	page.send(plain)
	if resp, _ := page.answer("GET"); resp.StatusCode != http.StatusOK || time.Since(began) != 0 {
		t.Errorf("meanwhile: %s after %v", resp.Status, time.Since(began))
	}
	_ = page.Close()
	all.Wait()
	return ended
}

func TestSlowHeadersEndInTime(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, func(http.ResponseWriter, *http.Request) {})
		for i, after := range slowly(t, n, "GET / HTTP/1.1\r\n", "Host: a\r\n", "X: a\r\n", "X: b\r\n", "X: c\r\n") {
			if after != 10*time.Second {
				t.Fatalf("%d ended after %v", i, after)
			}
		}
	})
}

func TestSlowBodiesEndInTime(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{}, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		for i, after := range slowly(t, n, tenBytes, "1", "2") {
			if after != 18*time.Second+30*time.Second {
				t.Fatalf("%d ended after %v", i, after)
			}
		}
	})
}

func TestHalfOpenHandshakesEndInTime(t *testing.T) {
	certs, _ := h3Certificate(t)
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{TLS: &listen.TLS{Certificates: certs}}, func(http.ResponseWriter, *http.Request) {})
		began := time.Now()
		ended := make([]time.Duration, attackers)
		var all sync.WaitGroup
		for i := range ended {
			conn, err := n.Dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if i%2 == 0 {
					_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01\x00") // as a ClientHello begins
				}
				_, _ = io.Copy(io.Discard, conn)
				ended[i] = time.Since(began)
				_ = conn.Close()
			})
		}
		synctest.Wait()
		// A bubble's clock is not that of the certificate.
		conf := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true} //nolint:gosec // see above
		tr := &http.Transport{DialContext: n.Dial, TLSClientConfig: conf}
		resp, err := (&http.Client{Transport: tr}).Get("https://localhost/") //nolint:noctx // of the bubble
		if err != nil || resp.StatusCode != http.StatusOK || time.Since(began) != 0 {
			t.Errorf("meanwhile: %v after %v", err, time.Since(began))
		} else {
			_ = resp.Body.Close()
		}
		tr.CloseIdleConnections()
		all.Wait()
		for i, after := range ended {
			if after != 10*time.Second {
				t.Fatalf("%d ended after %v", i, after)
			}
		}
	})
}

// victim is a server on loopback, with what its handlers do.
type victim struct {
	addr    string
	running atomic.Int64
	most    atomic.Int64
	served  atomic.Int64
	release chan struct{}
}

// attacked serves requests for /wait until release is closed, those for /gone
// until their clients give them up, and others at once.
func attacked(t *testing.T) *victim {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{addr: l.Addr().String(), release: make(chan struct{})}
	serveOn(t, l, listen.Config{}, func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
		case "/gone":
			<-r.Context().Done()
			return
		default:
			return
		}
		v.served.Add(1)
		now := v.running.Add(1)
		defer v.running.Add(-1)
		for most := v.most.Load(); now > most && !v.most.CompareAndSwap(most, now); most = v.most.Load() {
		}
		<-v.release
	})
	t.Cleanup(sync.OnceFunc(func() { close(v.release) }))
	return v
}

// dial connects an attacker, which reads, until its connection ends, what it is
// sent.
func (v *victim) dial(t *testing.T) (c *talk2, ended <-chan http2.ErrCode) {
	t.Helper()
	conn, err := net.Dial("tcp", v.addr) //nolint:noctx // of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c = begin2(t, conn)
	end := make(chan http2.ErrCode, 1)
	go func() {
		var code http2.ErrCode
		for {
			f, err := c.ReadFrame()
			if err != nil {
				break
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				code = g.ErrCode
			}
		}
		end <- code
	}()
	return c, end
}

// answers fails unless another client is served.
func (v *victim) answers(t *testing.T) {
	t.Helper()
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + v.addr + "/") //nolint:noctx // of the test
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	_ = resp.Body.Close()
}

// flood calls send until the connection breaks, at most n times, and asks for a
// page meanwhile.
func (v *victim) flood(t *testing.T, n int, send func(i int) error) {
	t.Helper()
	for i := range n {
		if i%(n/4) == n/8 {
			v.answers(t)
		}
		if send(i) != nil {
			return
		}
	}
}

func requestBlock(path string, fields ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: path},
	}, fields...) {
		_ = e.WriteField(f) // to a buffer
	}
	return b.Bytes()
}

func TestRapidResetsRunNoMoreHandlersThanStreams(t *testing.T) {
	v := attacked(t)
	before := heap()
	c, ended := v.dial(t)
	block := requestBlock("/wait")
	v.flood(t, 10_000, func(i int) error {
		id := uint32(2*i + 1) //nolint:gosec // small
		if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}); err != nil {
			return err
		}
		return c.WriteRSTStream(id, http2.ErrCodeCancel)
	})
	<-ended
	if most, served := v.most.Load(), v.served.Load(); most > 250 || served > 250 {
		t.Errorf("%d handlers ran, %d at one time", served, most)
	}
	v.answers(t)
	grownBy(t, before, 32<<20)
}

// giveUp sends n requests and gives each up.
func (v *victim) giveUp(t *testing.T, c *talk2, n int) {
	t.Helper()
	block := requestBlock("/gone")
	v.flood(t, n, func(i int) error {
		id := uint32(2*i + 1) //nolint:gosec // small
		if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}); err != nil {
			return err
		}
		return c.WriteRSTStream(id, http2.ErrCodeCancel)
	})
}

func TestAClientThatOnlyGivesRequestsUpLosesItsConnection(t *testing.T) {
	v := attacked(t)
	c, ended := v.dial(t)
	v.giveUp(t, c, 100_000)
	<-ended
	v.answers(t)
}

func TestAClientThatGivesSomeRequestsUpKeepsItsConnection(t *testing.T) {
	v := attacked(t)
	c, ended := v.dial(t)
	v.giveUp(t, c, 50)
	c.must(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1001, BlockFragment: requestBlock("/wait"), EndHeaders: true, EndStream: true}))
	for v.served.Load() == 0 {
		select {
		case <-ended:
			t.Fatal("the connection ended")
		default:
			runtime.Gosched()
		}
	}
}

func TestEndlessContinuationsEndTheConnection(t *testing.T) {
	v := attacked(t)
	before := heap()
	c, ended := v.dial(t)
	c.must(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("/wait")}))
	var part bytes.Buffer
	e := hpack.NewEncoder(&part)
	for range 10 {
		_ = e.WriteField(hpack.HeaderField{Name: "x-part", Value: strings.Repeat("a", 500), Sensitive: true}) // to a buffer
	}
	v.flood(t, 10_000, func(int) error { return c.WriteContinuation(1, false, part.Bytes()) })
	<-ended
	if v.served.Load() != 0 {
		t.Error("it was served")
	}
	v.answers(t)
	grownBy(t, before, 32<<20)
}

func TestHeaderBombsAreNotUnpacked(t *testing.T) {
	v := attacked(t)
	before := heap()
	for range 20 {
		c, ended := v.dial(t)
		// One entry of the table that is nearly as large as the table, and then
		// nothing but references to it, of one byte each.
		bomb := requestBlock("/wait", hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("a", 3900)})
		bomb = append(bomb, bytes.Repeat([]byte{0x80 | 62}, 12<<10)...)
		for i := range 50 {
			// An error means that the connection has ended already.
			if c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: bomb, EndHeaders: true, EndStream: true}) != nil { //nolint:gosec // small
				break
			}
		}
		v.answers(t)
		_ = c.conn.Close()
		<-ended
	}
	if v.served.Load() != 0 {
		t.Error("it was served")
	}
	grownBy(t, before, 32<<20)
}

func TestAMebibyteOfHeaderOverHTTP1IsRefused(t *testing.T) {
	v := attacked(t)
	before := heap()
	conn, err := net.Dial("tcp", v.addr) //nolint:noctx // of the test
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Sending fails when the answer is there.
	_, _ = io.WriteString(conn, "GET /wait HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 1024)+"\r\n")
	answer, _ := io.ReadAll(conn) // it may end in a reset
	if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")) {
		t.Errorf("%.60q", answer)
	}
	if v.served.Load() != 0 {
		t.Error("it was served")
	}
	v.answers(t)
	grownBy(t, before, 32<<20)
}

func TestAClientThatTakesNothingIsGone(t *testing.T) {
	simulated(t, func(t *testing.T) {
		gone := make(chan error, 1)
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, bodySize))
			<-r.Context().Done()
			gone <- r.Context().Err()
		})
		c := dial2(t, n, wide)
		c.widen()
		c.ask("GET", "/", false)
		began := time.Now()
		if err := <-gone; time.Since(began) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
