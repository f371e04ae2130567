package fanout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestEventsWithinTheFlushDelayGoTogether(t *testing.T) {
	const delay, events = 50 * time.Millisecond, 200
	e := engine(t, fanout.Config{Shards: 1, FlushDelay: delay})
	log := new(journal)
	r := newReader(log)
	client := serve(t, e, &r.Conn, r, nil)
	for _, event := range []string{"first", "second"} { // one of which was not the start
		log.publish([]byte(event))
		expect(t, client, event)
	}
	before, began := e.Stats().Writes, time.Now()
	for range events {
		log.publish([]byte("event"))
	}
	most := uint64(time.Since(began)/delay) + 2 // of times when the delay was over, and what came after
	expect(t, client, string(bytes.Repeat([]byte("event"), events)))
	if writes := e.Stats().Writes - before; writes > most {
		t.Errorf("%d writes, want at most %d", writes, most)
	}
}

func TestRepliesThatTheClientDoesNotTakeAreBounded(t *testing.T) {
	const asked, times = 1 << 20, 16
	e := engine(t, fanout.Config{})
	s := &script{receive: func(out *fanout.Out, p []byte) {
		for range times {
			out.Add(p)
		}
	}}
	client := play(t, e, s, nil)
	var asking sync.WaitGroup
	asking.Go(func() {
		if _, err := client.Write(make([]byte, asked)); err != nil {
			t.Error(err)
		}
	})
	const bound = 64<<10 + times*4<<10
	eventually(t, "replies that wait", func() bool {
		b := s.Stats().Buffered
		if b > bound {
			t.Errorf("%d bytes of replies wait", b)
		}
		return b > 64<<10
	})
	if s.Stats().Received == asked {
		t.Error("the client was read from all the time")
	}
	if n, err := io.CopyN(io.Discard, client, asked*times); err != nil {
		t.Errorf("%d bytes of replies, %v", n, err)
	}
	asking.Wait()
}

func TestAUnixSocketIsServedToo(t *testing.T) {
	e := engine(t, fanout.Config{})
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := &script{closed: make(chan error, 1), pull: func(out *fanout.Out) { out.Share(big) }}
	if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, client, string(big))
	client.Close()
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrGone) {
		t.Errorf("closed with %v", err)
	}
}

func TestNoMoreWorkersRunThanAreAllowed(t *testing.T) {
	const limit, clients = 3, 20
	e := engine(t, fanout.Config{Workers: limit})
	var running, most atomic.Int64
	release := make(chan struct{})
	done := make(chan struct{}, clients)
	for range clients {
		s := &script{receive: func(out *fanout.Out, _ []byte) {
			out.Work(func() {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-release
				running.Add(-1)
				done <- struct{}{}
			})
		}}
		client := play(t, e, s, nil)
		fmt.Fprint(client, "x")
	}
	eventually(t, "as many as are allowed", func() bool { return running.Load() == limit })
	close(release)
	for range clients {
		get(t, done, "the work")
	}
	if n := most.Load(); n != limit {
		t.Errorf("%d workers ran at once, want %d", n, limit)
	}
}

func TestJobsThatBlockLeaveOthersTheirTurn(t *testing.T) {
	const blocked = 500 // fewer than the bound, and far more than there are processors
	e := engine(t, fanout.Config{})
	release, began := make(chan struct{}), make(chan struct{}, blocked)
	defer close(release)
	ln := listener(t)
	for range blocked {
		client, server := dial(t, ln)
		s := &script{closed: make(chan error, 1)}
		s.receive = func(out *fanout.Out, _ []byte) { out.Work(func() { began <- struct{}{}; <-release }) }
		if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(client, "x")
	}
	for range blocked {
		get(t, began, "all of them")
	}
	var answer atomic.Value
	s := &script{receive: func(out *fanout.Out, p []byte) {
		text := bytes.Clone(p)
		out.Work(func() { answer.Store(text) })
	}}
	s.pull = func(out *fanout.Out) {
		if text, ok := answer.Swap([]byte(nil)).([]byte); ok {
			out.Add(text)
		}
	}
	client := play(t, e, s, nil)
	fmt.Fprint(client, "mine")
	expect(t, client, "mine")
}

func TestJobsBeyondTheBoundRunInTheOrderInWhichTheyCame(t *testing.T) {
	const clients = 20
	e := engine(t, fanout.Config{Shards: 1, Workers: 1})
	release, order := make(chan struct{}), make(chan int, clients)
	for i := range clients {
		received := make(chan struct{})
		s := &script{receive: func(out *fanout.Out, _ []byte) {
			close(received)
			out.Work(func() { <-release; order <- i })
		}}
		fmt.Fprint(play(t, e, s, nil), "x")
		get(t, received, "Receive")
	}
	close(release)
	for i := range clients {
		if got := get(t, order, "the work"); got != i {
			t.Fatalf("job %d ran, want %d", got, i)
		}
	}
}

func TestNothingMoreIsReadBeforeThePullThatFollowsWork(t *testing.T) {
	e := engine(t, fanout.Config{})
	worked := false
	var order []byte
	s := &script{}
	s.receive = func(out *fanout.Out, p []byte) {
		order = append(order, p[0])
		worked = true
		out.Work(func() {})
	}
	s.pull = func(out *fanout.Out) {
		if worked {
			worked = false
			order = append(order, 'p')
			out.Share(make([]byte, 1<<20)) // which is not taken at once
			out.Share(order)
		}
	}
	client := play(t, e, s, nil)
	for _, want := range []string{"ap", "apbp", "apbpcp"} {
		fmt.Fprint(client, want[len(want)-2:len(want)-1])
		if _, err := io.CopyN(io.Discard, client, 1<<20); err != nil {
			t.Fatal(err)
		}
		expect(t, client, want)
	}
}

func TestASlowReaderGetsAllAndTheOthersAtOnce(t *testing.T) {
	const frames = 600
	e := engine(t, fanout.Config{Shards: 1})
	log := new(journal)
	slow, fast := newReader(log), newReader(log)
	slowClient := serve(t, e, &slow.Conn, slow, nil)
	client := serve(t, e, &fast.Conn, fast, nil)
	var want []byte
	for i := range frames {
		frame := bytes.Repeat([]byte{byte(i)}, 16<<10)
		want = append(want, frame...)
		log.publish(frame)
		expect(t, client, string(frame))
		if i%10 == 0 { // it reads a little, and has most of it still to come
			expect(t, slowClient, string(want[i/10*100:i/10*100+100]))
		}
	}
	read := (frames + 9) / 10 * 100
	expect(t, slowClient, string(want[read:]))
}

func TestASessionThatAlwaysHasMoreLeavesOthersTheirTurn(t *testing.T) {
	e := engine(t, fanout.Config{Shards: 1})
	frame := make([]byte, 64<<10)
	greedy := &script{pull: func(out *fanout.Out) { out.Share(frame); out.More() }}
	client := play(t, e, greedy, nil)
	var draining sync.WaitGroup
	draining.Go(func() { _, _ = io.Copy(io.Discard, client) })
	echo := &script{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
	other := play(t, e, echo, nil)
	for range 100 {
		fmt.Fprint(other, "mine")
		expect(t, other, "mine")
	}
	greedy.Reset()
	draining.Wait()
}

func TestStatsMayBeAskedForAtAnyTime(t *testing.T) {
	e := engine(t, fanout.Config{})
	ln := listener(t)
	for range 100 {
		client, server := dial(t, ln)
		s := &script{closed: make(chan error, 1)}
		s.pull = func(out *fanout.Out) { out.Share([]byte("x")); _ = s.Stats() }
		var asking sync.WaitGroup
		for range 3 {
			asking.Go(func() {
				for range 50 {
					if st := s.Stats(); st.Buffered != 0 || st.Unsent > 1<<10 {
						t.Errorf("stats %+v", st)
					}
					s.Wake()
				}
				s.Reset()
			})
		}
		if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
			t.Fatal(err)
		}
		asking.Wait()
		if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrReset) {
			t.Errorf("closed with %v", err)
		}
		client.Close()
	}
}
