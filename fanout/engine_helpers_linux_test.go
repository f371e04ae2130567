package fanout_test

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

// script is a session made of functions, all of which may be nil.
type script struct {
	fanout.Conn

	pull    func(*fanout.Out)
	receive func(*fanout.Out, []byte)
	beat    func(*fanout.Out)
	closed  chan error // has room for one, so that a second Closed hangs the test
}

func (s *script) Pull(out *fanout.Out) {
	if s.pull != nil {
		s.pull(out)
	}
}

func (s *script) Receive(out *fanout.Out, p []byte) {
	if s.receive != nil {
		s.receive(out, p)
	}
}

func (s *script) Beat(out *fanout.Out) {
	if s.beat != nil {
		s.beat(out)
	}
}

func (s *script) Closed(err error) { s.closed <- err }

// journal is a log that sessions read, each from where it stands.
type journal struct {
	mu      sync.Mutex
	frames  [][]byte
	readers []*fanout.Conn
}

// publish appends a frame and wakes all readers.
func (l *journal) publish(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, frame)
	for _, c := range l.readers {
		c.Wake()
	}
}

func (l *journal) add(c *fanout.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, c)
}

func (l *journal) remove(c *fanout.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = slices.DeleteFunc(l.readers, func(o *fanout.Conn) bool { return o == c })
}

func (l *journal) from(i int) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames[i:len(l.frames):len(l.frames)]
}

// reader is a session that sends a journal.
type reader struct {
	fanout.Conn

	from   *journal
	next   int
	closed chan error
}

func newReader(l *journal) *reader {
	r := &reader{from: l, closed: make(chan error, 1)}
	l.add(&r.Conn)
	return r
}

func (r *reader) Pull(out *fanout.Out) {
	for _, frame := range r.from.from(r.next) {
		if out.Room() < len(frame) && out.Room() < 64<<10 {
			out.More()
			return
		}
		out.Share(frame)
		r.next++
	}
}

func (r *reader) Receive(*fanout.Out, []byte) {}
func (r *reader) Beat(*fanout.Out)            {}
func (r *reader) Closed(err error)            { r.from.remove(&r.Conn); r.closed <- err }

// dial returns both ends of a connection over a loopback socket.
func dial(t testing.TB, ln net.Listener) (client *net.TCPConn, server net.Conn) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn), server
}

func listener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// engine returns an engine that is closed when the test ends.
func engine(t testing.TB, c fanout.Config) *fanout.Engine {
	t.Helper()
	e := fanout.New(c)
	t.Cleanup(func() { e.Close() })
	return e
}

// serve gives an engine a new connection, and returns its client.
func serve(t testing.TB, e *fanout.Engine, c *fanout.Conn, s fanout.Session, o *fanout.Options) *net.TCPConn {
	t.Helper()
	client, server := dial(t, listener(t))
	if err := e.Add(c, fanout.Taken{Conn: server}, s, o); err != nil {
		t.Fatal(err)
	}
	return client
}

// play serves a script.
func play(t testing.TB, e *fanout.Engine, s *script, o *fanout.Options) *net.TCPConn {
	t.Helper()
	s.closed = make(chan error, 1)
	return serve(t, e, &s.Conn, s, o)
}

// expect reads what the client is to receive next.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if _, err := io.ReadFull(r, p); err != nil || string(p) != want {
		t.Fatalf("the client received %.200q, %v; want %.200q", p, err, want)
	}
}

// descriptors returns how many the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// patient is for what only a broken engine makes wait.
const patient = 20 * time.Second

// get receives from c, but not for ever.
func get[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patient):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// eventually waits until is returns true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patient); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
