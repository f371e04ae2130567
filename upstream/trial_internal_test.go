//go:build linux && (amd64 || arm64)

package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// trial is one connection over the loopback interface that has carried a
// request already, and on which a second one meets whatever its peer does.
type trial struct {
	socket   *socket
	client   net.Conn // socket, or TLS on it
	server   net.Conn
	raw      *net.TCPConn // below server
	received atomic.Bool  // the server's process got a byte of the second request
	ended    chan bool    // by the client's reader: it got an answer
	reset    bool         // a reset came without a FIN; after ended
}

// ear is the server's end: it notes when the process receives something.
type ear struct {
	*net.TCPConn

	heard *atomic.Bool
}

func (e ear) Read(p []byte) (int, error) {
	n, err := e.TCPConn.Read(p)
	if n > 0 {
		e.heard.Store(true)
	}
	return n, err
}

// bench makes trials.
type bench struct {
	listener net.Listener
	tls      *tls.Config // nil: plain
}

func newBench(t *testing.T, encrypted bool) *bench {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	b := &bench{listener: l}
	if encrypted {
		s := httptest.NewUnstartedServer(nil)
		s.StartTLS()
		b.tls = s.TLS.Clone()
		s.Close()
	}
	return b
}

func (b *bench) connect(t *testing.T) *trial {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{ended: make(chan bool, 1), socket: newSocket(c, true, nil)}
	accepted, err := b.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tr.raw = accepted.(*net.TCPConn)
	tr.client, tr.server = tr.socket, ear{tr.raw, &tr.received}
	if b.tls != nil {
		tr.client = tls.Client(tr.client, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // its peer is this test
		tr.server = tls.Server(tr.server, b.tls)
	}
	warmed := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(tr.server, make([]byte, 4))
		if err == nil {
			_, err = tr.server.Write([]byte("pong"))
		}
		warmed <- err
	}()
	if c, ok := tr.client.(*tls.Conn); ok {
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tr.socket.begin()
	if _, err := tr.client.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(tr.client, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := <-warmed; err != nil {
		t.Fatal(err)
	}
	tr.received.Store(false)
	return tr
}

// read does what net/http's reading side does: it waits from before the
// request on, and closes the connection at an error.
func (tr *trial) read() {
	n, err := tr.client.Read(make([]byte, 4))
	if err != nil {
		_ = tr.client.Close()
	}
	tr.reset = errors.Is(err, syscall.ECONNRESET)
	tr.ended <- n > 0
}

// outcomes of a request.
type outcome string

const (
	answered outcome = "answered"
	unsent   outcome = "refused before it was written"
	proven   outcome = "proven unread"
	unproven outcome = "not provable"
)

// request makes a request of size bytes and says what became of it.
func (tr *trial) request(size int, blind bool) outcome {
	err := tr.write(size, blind)
	return tr.outcome(err)
}

// write writes size bytes, in pieces as net/http does. blind: without the look
// before, as if it came too early, which it does where a FIN travels for longer
// than over the loopback interface.
func (tr *trial) write(size int, blind bool) error {
	tr.socket.begin()
	if blind {
		tr.socket.gate.Store(gateOpen)
	}
	for sent := 0; sent < size; {
		n, err := tr.client.Write(make([]byte, min(size-sent, 4<<10)))
		sent += n
		if err != nil {
			_ = tr.client.Close()
			if down := syscall.Errno(0); sent == 0 && !errors.As(err, &down) {
				return errStale // closed by our reader, which may have said TLS's farewell
			}
			return err
		}
	}
	return nil
}

// outcome waits for the reader and closes the connection; err is of write.
func (tr *trial) outcome(err error) outcome {
	ok := <-tr.ended
	_ = tr.client.Close()
	switch {
	case ok:
		return answered
	case !tr.socket.wrote() || errors.Is(err, errStale):
		return unsent
	case tr.socket.unread():
		return proven
	}
	return unproven
}

// serveOrClose is a server whose idle timeout has come: it reads and answers
// what is there, or closes.
func (tr *trial) serveOrClose() {
	if newSocket(tr.raw, false, nil).quiet() {
		_ = tr.server.Close()
		return
	}
	buf := make([]byte, 32<<10)
	if _, err := tr.server.Read(buf); err == nil {
		_, _ = tr.server.Write([]byte("pong"))
	}
	for {
		if _, err := tr.server.Read(buf); err != nil {
			_ = tr.server.Close()
			return
		}
	}
}

// meet runs both at the same moment, give or take some microseconds, and
// returns when both are done. Neither can be left to the scheduler, which
// takes longer than that to wake somebody: they wait for each other awake.
func meet(a, b func()) {
	var ready atomic.Int32
	run := func(f func()) {
		ready.Add(1)
		for ready.Load() < 2 {
			runtime.Gosched()
		}
		at := time.Now().Add(time.Duration(rand.IntN(20_000)))
		for time.Now().Before(at) { //nolint:revive // nothing sleeps so short
		}
		f()
	}
	var wg sync.WaitGroup
	wg.Go(func() { run(a) })
	run(b)
	wg.Wait()
}

type tally map[outcome]map[bool]int // received or not

func (c tally) add(o outcome, received bool) {
	if c[o] == nil {
		c[o] = make(map[bool]int)
	}
	c[o][received]++
}

func (c tally) String() string {
	var b strings.Builder
	for _, o := range []outcome{answered, unsent, proven, unproven} {
		fmt.Fprintf(&b, "%s: %d (%d received)  ", o, c[o][false]+c[o][true], c[o][true])
	}
	return b.String()
}

// check is what all this is about.
func (c tally) check(t *testing.T) {
	t.Helper()
	if n := c[proven][true] + c[unsent][true]; n > 0 {
		t.Errorf("%d requests that the server had read were judged unread", n)
	}
}

// abort ends the connection with a reset.
func (tr *trial) abort() {
	_ = tr.raw.SetLinger(0)
	_ = tr.raw.Close()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
