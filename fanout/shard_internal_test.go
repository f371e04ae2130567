//go:build linux

package fanout

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bench is a shard whose clock is the test's, with one flow on a socket.
type bench struct {
	*shard

	t       *testing.T
	flow    *flow
	client  int
	session steps
}

// steps is a session made of functions, all of which may be nil.
type steps struct {
	pull, receive, beat func(*Out)

	closed []error
}

func (s *steps) Pull(out *Out)              { call(s.pull, out) }
func (s *steps) Receive(out *Out, _ []byte) { call(s.receive, out) }
func (s *steps) Beat(out *Out)              { call(s.beat, out) }
func (s *steps) Closed(err error)           { s.closed = append(s.closed, err) }

func call(f func(*Out), out *Out) {
	if f != nil {
		f(out)
	}
}

func onBench(t *testing.T, o *Options) *bench {
	t.Helper()
	e := New(Config{})
	s, err := newShard(e)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := new(Conn)
	b := &bench{shard: s, t: t, flow: &c.flow, client: fds[1]}
	*b.flow = flow{conn: c, session: &b.session, opts: o, fd: int32(fds[0]), slot: noSlot, alarm: noAlarm}
	s.connections.Add(1)
	s.adopt(arrival{flow: b.flow})
	t.Cleanup(func() {
		if b.flow.fd >= 0 {
			s.close(b.flow, nil)
		}
		_ = unix.Close(b.client)
		_ = s.file.Close()
		e.workers.running.Wait()
	})
	return b
}

// pass lets time pass, and has the flow looked at if that is due.
func (b *bench) pass(d time.Duration) {
	b.now += int64(d)
	if at, do := b.flow.deadline(); do != nothing && at <= b.now {
		b.flow.unlink()
		b.expire(b.flow)
	}
}

// take has the client read all there is, and returns how much that was.
func (b *bench) take() (n int) {
	p := make([]byte, 64<<10)
	for {
		m, err := unix.Read(b.client, p)
		if m <= 0 || err != nil {
			return n
		}
		n += m
	}
}

// flood has the client send until the flow is not read from any more, or n bytes,
// and returns how much was received of it.
func (b *bench) flood(n int) int {
	b.t.Helper()
	before := b.flow.conn.received.Load()
	for p := make([]byte, 64<<10); n > 0 && b.flow.fd >= 0 && !b.flow.paused(); {
		m, err := unix.Write(b.client, p[:min(n, len(p))])
		if err != nil && err != unix.EAGAIN {
			b.t.Fatal(err)
		}
		n -= max(m, 0)
		for b.flow.set(readable); b.flow.fd >= 0 && b.flow.has(readable) && !b.flow.paused(); {
			b.read(b.flow)
		}
	}
	return int(b.flow.conn.received.Load() - before)
}

func TestAClientThatTakesALongTimeIsAskedBeforeItIsSilent(t *testing.T) {
	const silence = 3 * time.Second
	b := onBench(t, &Options{Silence: silence, Heartbeat: time.Second})
	b.session.pull = func(out *Out) { out.Share(make([]byte, 4<<20)) }
	b.session.beat = func(out *Out) { out.Add([]byte("?")) }
	b.flow.jitter = 0
	b.pull(b.flow)
	for b.flow.backlog != nil {
		b.pass(silence)
		if b.flow.fd < 0 {
			t.Fatalf("it was closed with %v while it read", b.session.closed)
		}
		if b.take() == 0 {
			t.Fatal("nothing was there to be read")
		}
		b.flow.unset(blocked)
		b.turn(b.flow)
	}
	b.take()
	b.pass(900 * time.Millisecond)
	if b.take() != 0 {
		t.Error("it was asked at once")
	}
	for range 10 {
		b.pass(1100 * time.Millisecond)
		if b.take() != 1 {
			t.Fatal("it was not asked for a sign of life")
		}
		if b.flood(1) != 1 {
			t.Fatal("it was not heard")
		}
	}
	b.pass(silence - time.Millisecond)
	if b.flow.fd < 0 {
		t.Error("it was closed before it was silent for so long")
	}
	b.pass(time.Millisecond)
	if len(b.session.closed) != 1 || !errors.Is(b.session.closed[0], ErrSilent) {
		t.Errorf("a silent client was closed with %v", b.session.closed)
	}
}

func TestAClientThatSendsWhatIsOfNoUseIsReadSlowly(t *testing.T) {
	const burst = 1 << 20
	b := onBench(t, &Options{Burst: burst, Silence: time.Second})
	if n := b.flood(8 << 20); n <= burst || n > burst+readBuffer {
		t.Errorf("%d bytes were read at once, want %d", n, burst)
	}
	read := 0
	for range 1000 { // 10 s
		b.pass(10 * time.Millisecond)
		read += b.flood(1 << 20)
	}
	if most := 10 * paceBytes * int(time.Second/paceTime); read > most || read < most*9/10 {
		t.Errorf("%d bytes were read in 10 s, want %d at most", read, most)
	}
	if b.flow.fd < 0 {
		t.Fatalf("it was closed with %v", b.session.closed)
	}
	b.take()
	b.pass(500 * time.Millisecond)
	b.pass(500 * time.Millisecond)
	b.pass(500 * time.Millisecond)
	if b.flow.fd >= 0 {
		t.Error("a client that was paced and has fallen silent was not closed")
	}
}

func TestAClientIsNotReadSlowlyWhatItSendsInMessagesThatAreWorkedOn(t *testing.T) {
	const burst, message = 256 << 10, 200 << 10
	b := onBench(t, &Options{Burst: burst})
	got := 0
	b.session.receive = func(out *Out) {
		if n := int(b.flow.conn.received.Load()); n-got >= message { // at least, for the end of one may come with the next
			got = n
			out.Work(func() {})
		}
	}
	for range 50 {
		b.flood(message)
		if b.flow.has(paced) {
			t.Fatal("it is paced")
		}
		if b.flow.job != nil {
			b.engine.workers.running.Wait()
			b.turn(b.flow)
		}
	}
	if got < 40*message {
		t.Errorf("%d bytes were worked on", got)
	}
}

func TestAClientMaySayItsLastWordsHoweverMuchItHasSent(t *testing.T) {
	b := onBench(t, &Options{Burst: 100 << 10})
	b.flood(1 << 20)
	if !b.flow.has(paced) {
		t.Fatal("it is not paced")
	}
	b.session.pull = func(out *Out) { out.End(End{Linger: time.Second}) }
	b.pull(b.flow)
	if n := b.flood(1 << 20); n <= paceBytes || n > paceBytes+readBuffer {
		t.Errorf("%d bytes were read after the end, want %d", n, paceBytes)
	}
	b.pass(time.Second) // it may be read from again
	b.pass(0)
	if len(b.session.closed) != 1 || b.session.closed[0] != nil {
		t.Errorf("it was closed with %v", b.session.closed)
	}
}
