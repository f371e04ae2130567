package fanout_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

// session is a Session made of functions; those that are nil do nothing. It
// checks that they are called one at a time, and Closed once and last.
type session struct {
	fanout.Conn

	t       testing.TB
	pull    func(out *fanout.Out)
	receive func(out *fanout.Out, p []byte)
	beat    func(out *fanout.Out)
	onClose func(err error)

	busy   atomic.Bool
	closed atomic.Int32
}

func (s *session) enter() (leave func()) {
	if s.busy.Swap(true) {
		s.t.Error("two methods of a session ran at once")
	}
	if s.closed.Load() > 0 {
		s.t.Error("a method of a session was called after Closed")
	}
	return func() { s.busy.Store(false) }
}

func (s *session) Pull(out *fanout.Out) {
	defer s.enter()()
	if s.pull != nil {
		s.pull(out)
	}
}

func (s *session) Receive(out *fanout.Out, p []byte) {
	defer s.enter()()
	if s.receive != nil {
		s.receive(out, p)
	}
}

func (s *session) Beat(out *fanout.Out) {
	defer s.enter()()
	if s.beat != nil {
		s.beat(out)
	}
}

func (s *session) Closed(err error) {
	defer s.enter()()
	s.closed.Add(1)
	if s.onClose != nil {
		s.onClose(err)
	}
}

// stream is a Stream whose halves end apart, as those of TCP do. It has no
// buffer: a Write waits for the client's Read.
type stream struct {
	net.Conn // what is read and closed

	t      testing.TB
	out    net.Conn
	mu     sync.Mutex
	writes []string // what each Write was given
	until  time.Time
	over   bool
}

func (s *stream) touched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		s.t.Error("the stream was touched after Serve had returned")
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.touched()
	s.mu.Lock()
	s.writes = append(s.writes, string(p))
	s.mu.Unlock()
	return s.out.Write(p)
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.touched()
	s.mu.Lock()
	s.until = t
	s.mu.Unlock()
	return s.out.SetWriteDeadline(t)
}

func (s *stream) CloseWrite() error { s.touched(); return s.out.Close() }
func (s *stream) Close() error      { s.touched(); return errors.Join(s.out.Close(), s.Conn.Close()) }

func (s *stream) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// deaf is a Stream that cannot be read from.
type deaf struct{ s *stream }

func (d deaf) Write(p []byte) (int, error)        { return d.s.Write(p) }
func (d deaf) SetWriteDeadline(t time.Time) error { return d.s.SetWriteDeadline(t) }
func (d deaf) CloseWrite() error                  { return d.s.CloseWrite() }
func (d deaf) Close() error                       { return d.s.Close() }

// run is a session that is served.
type run struct {
	*stream

	send, take net.Conn // the client's halves
	cancel     context.CancelFunc
	began      time.Time
	done       chan error
}

// attend has Serve serve s in the bubble of a test, which it does not outlive.
func attend(t *testing.T, s *session, o fanout.Options) *run {
	t.Helper()
	return attendStream(t, s, o, func(s *stream) fanout.Stream { return s })
}

// attendAs does so with a stream that may be one that cannot be read.
func attendAs(t *testing.T, s *session, o fanout.Options, unread bool) *run {
	t.Helper()
	return attendStream(t, s, o, func(s *stream) fanout.Stream {
		if unread {
			return deaf{s}
		}
		return s
	})
}

// attendStream does so with what as makes of the stream.
func attendStream(t *testing.T, s *session, o fanout.Options, as func(*stream) fanout.Stream) *run {
	t.Helper()
	s.t = t
	send, in := net.Pipe()
	take, out := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{
		stream: &stream{Conn: in, t: t, out: out}, send: send, take: take,
		cancel: cancel, began: time.Now(), done: make(chan error, 1),
	}
	go func() {
		err := fanout.Serve(ctx, &s.Conn, as(r.stream), s, &o)
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
		if n := s.closed.Load(); n != 1 {
			t.Errorf("Closed was called %d times", n)
		}
		s.Wake() // as late as they like
		s.Reset()
		_ = s.Stats()
		r.done <- err
	}()
	t.Cleanup(func() {
		cancel()
		_ = send.Close()
		_ = take.Close()
	})
	return r
}

// ends waits for the end of the session and checks why, and when.
func (r *run) ends(want error, after time.Duration) {
	r.t.Helper()
	err := <-r.done
	if !errors.Is(err, want) {
		r.t.Errorf("Serve returned %v, want %v", err, want)
	}
	if took := time.Since(r.began); took != after {
		r.t.Errorf("Serve returned after %v, want %v", took, after)
	}
}

// reads checks what the client gets next.
func (r *run) reads(want string) {
	r.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r.take, got)
	if string(got[:n]) != want || err != nil {
		r.t.Fatalf("the client read %q, %v; want %q", got[:n], err, want)
	}
}

// sends has the client send.
func (r *run) sends(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r.send, text); err != nil {
		r.t.Fatalf("the client could not send: %v", err)
	}
}

// drains has the client take all from now on.
func (r *run) drains() { go func() { _, _ = io.Copy(io.Discard, r.take) }() }

// once returns a Pull that does f the first time only.
func once(f func(out *fanout.Out)) func(*fanout.Out) {
	done := false
	return func(out *fanout.Out) {
		if !done {
			done = true
			f(out)
		}
	}
}
