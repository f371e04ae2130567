package fanout_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-edge/fairlead/fanout"
)

// lost returns the server's end of a connection that its client has reset.
func lost(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	client, server := dial(t, ln)
	_ = client.SetLinger(0)
	client.Close()
	raw, err := server.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reset", func() bool {
		var events int16
		if err := raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd)}}
			_, _ = unix.Poll(p, 0)
			events = p[0].Revents
		}); err != nil {
			t.Fatal(err)
		}
		return events&unix.POLLHUP != 0
	})
	return server
}

func TestNothingIsPulledForAClientThatHasGoneWhenItIsTakenIn(t *testing.T) {
	e := engine(t, fanout.Config{Shards: 1})
	ln := listener(t)
	for _, first := range []string{"", "head"} {
		s := &script{closed: make(chan error, 1)}
		pulls := 0
		s.pull = func(*fanout.Out) { pulls++ }
		if err := e.Add(&s.Conn, fanout.Taken{Conn: lost(t, ln), First: []byte(first)}, s, nil); err != nil {
			t.Fatal(err)
		}
		if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrGone) {
			t.Errorf("closed with %v", err)
		}
		if pulls > 0 {
			t.Errorf("it was pulled %d times", pulls)
		}
	}
}

// gate is a session whose Pull holds its shard up until it is opened.
func gate(t *testing.T, e *fanout.Engine) (open func()) {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	pulls := 0
	s := &script{pull: func(out *fanout.Out) {
		if pulls++; pulls == 1 {
			out.Share([]byte("served"))
			return
		}
		close(held)
		<-release
	}}
	expect(t, play(t, e, s, nil), "served")
	s.Wake()
	get(t, held, "the gate")
	return func() { close(release) }
}

func TestAStormOfArrivalsHoldsNoReaderUp(t *testing.T) {
	const arrivals = 300
	e := engine(t, fanout.Config{Shards: 1})
	pulled := 0 // the shard's alone
	var before atomic.Int64
	s := &script{}
	s.pull = func(out *fanout.Out) {
		before.Store(int64(pulled))
		out.Share([]byte("event"))
	}
	client := play(t, e, s, nil)
	expect(t, client, "event")
	open := gate(t, e)
	s.Wake()
	var pulls sync.WaitGroup
	for range arrivals {
		pulls.Add(1)
		other := &script{pull: func(*fanout.Out) { pulled++; pulls.Done() }}
		play(t, e, other, nil)
	}
	open()
	expect(t, client, "event")
	if n := before.Load(); n != 0 {
		t.Errorf("%d connections that came later had been pulled before", n)
	}
	pulls.Wait() // and they all are
}

func TestAReaderThatIsWokenWaitsForFewOfThoseThatCatchUp(t *testing.T) {
	const greedy, part = 200, 64 << 10
	const most = 1<<20/part + 1 // in a round, and the one that wakes it
	e := engine(t, fanout.Config{Shards: 1})
	frame := make([]byte, part)
	s := &script{}
	pulls, woken := 0, 0 // the shard's alone
	var worst atomic.Int64
	waited := make(chan struct{}, 100)
	s.pull = func(*fanout.Out) {
		if woken > 0 {
			worst.Store(max(worst.Load(), int64(pulls-woken)))
			waited <- struct{}{}
		}
		woken = 0
	}
	play(t, e, s, nil)
	ln := listener(t)
	var draining sync.WaitGroup
	for range greedy {
		client, server := dial(t, ln)
		g := &script{closed: make(chan error, 1)}
		over := false
		g.pull = func(out *fanout.Out) {
			if pulls++; pulls%100 == 0 && len(waited) < cap(waited) && woken == 0 {
				woken = pulls
				s.Wake()
			}
			if over = over || len(waited) == cap(waited); over {
				out.End(fanout.End{})
				return
			}
			out.Share(frame)
			out.More()
		}
		if err := e.Add(&g.Conn, fanout.Taken{Conn: server}, g, nil); err != nil {
			t.Fatal(err)
		}
		draining.Go(func() { _, _ = io.Copy(io.Discard, client) })
	}
	draining.Wait() // all have ended
	if n := worst.Load(); len(waited) < cap(waited) || n > most {
		t.Errorf("of %d times it waited for %d pulls of others at worst, want at most %d", len(waited), n, most)
	}
}

func TestAClosedEngineClosesThoseThatItHasNotTakenIn(t *testing.T) {
	const arrivals = 200
	e := fanout.New(fanout.Config{Shards: 1})
	open := gate(t, e)
	sessions := make([]*script, arrivals)
	for i := range sessions {
		sessions[i] = &script{}
		play(t, e, sessions[i], nil)
	}
	var closing sync.WaitGroup
	closing.Go(func() { e.Close() })
	eventually(t, "the engine to take no more", func() bool {
		_, server := dial(t, listener(t))
		defer server.Close()
		return errors.Is(e.Add(new(fanout.Conn), fanout.Taken{Conn: server}, &script{closed: make(chan error, 1)}, nil), fanout.ErrClosed)
	})
	open()
	closing.Wait()
	for _, s := range sessions {
		if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrClosed) {
			t.Fatalf("closed with %v", err)
		}
	}
}
