package fanout_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestNothingIsLostWhileConnectionsComeStallBreakAndGo(t *testing.T) {
	const workers, lives = 8, 40
	before := descriptors(t)
	e := fanout.New(fanout.Config{Shards: 2})
	log := new(journal)
	ln := listener(t)
	stop := make(chan struct{})
	var publishing, living sync.WaitGroup
	publishing.Go(func() { number(log, stop) })
	for w := range workers {
		living.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 5))
			for range lives {
				if !live(t, e, log, ln, random) {
					return
				}
			}
		})
	}
	living.Wait()
	close(stop)
	publishing.Wait()
	eventually(t, "no connection to be left", func() bool { return e.Stats().Connections == 0 })
	e.Close()
	ln.Close()
	eventually(t, "as many descriptors as before", func() bool { return descriptors(t) <= before })
}

// number publishes frames, each of which is its number, and pauses now and then,
// so that all get to the end of the log.
func number(log *journal, stop <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := uint32(0); ; i++ {
		log.publish(binary.BigEndian.AppendUint32(nil, i))
		if i%20 == 0 {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}
}

// numbers is a session that sends the journal, and ends at a number where it is
// told to. Its client may ask for no end of zeros.
type numbers struct {
	*reader

	endAt int
	flood bool
}

func (n *numbers) Pull(out *fanout.Out) {
	if n.flood {
		out.Share(make([]byte, 60<<10))
		out.More()
		return
	}
	n.reader.Pull(out)
	if n.endAt > 0 && n.next > n.endAt {
		out.End(fanout.End{})
	}
}

func (n *numbers) Receive(out *fanout.Out, p []byte) {
	n.flood = string(p) == "flood"
	out.Work(n.Wake)
}

// live is a connection's life: it reads a while, in order and all of it, and
// comes to one of several ends.
func live(t *testing.T, e *fanout.Engine, log *journal, ln net.Listener, random *rand.Rand) bool {
	client, server := dialAny(t, ln)
	defer client.Close()
	r := newReader(log) // which is woken before it is served
	session := &numbers{reader: r}
	r.next = len(log.from(0))
	start, end := uint32(r.next), random.IntN(7)
	if end == 0 {
		session.endAt = r.next + random.IntN(50)
	}
	if err := e.Add(&r.Conn, fanout.Taken{Conn: server}, session, &fanout.Options{WriteTimeout: 200 * time.Millisecond}); err != nil {
		t.Error(err)
		return false
	}
	if !ordered(t, client, start, random.IntN(200), end == 0) {
		return false
	}
	var want error
	switch end {
	case 0: // the session ends it, without an error
		if _, err := io.Copy(io.Discard, client); err != nil {
			t.Error(err)
		}
	case 1:
		r.Reset()
		want = fanout.ErrReset
	case 2:
		_ = client.SetLinger(0) // the client's Close is a reset
		client.Close()
		want = fanout.ErrGone
	case 3:
		client.CloseWrite()
		want = fanout.ErrGone
	case 4:
		_, _ = client.Write([]byte("work"))
		_ = r.Stats() // while it may be closed
		r.Reset()
		want = fanout.ErrReset
	case 5: // it stalls
		_, _ = client.Write([]byte("flood"))
		want = fanout.ErrStalled
	case 6:
		client.Close()
		want = fanout.ErrGone
	}
	if err := get(t, r.closed, "Closed"); !errors.Is(err, want) {
		t.Errorf("end %d: closed with %v, want %v", end, err, want)
	}
	return true
}

// dialAny is dial where several do so: the ends are matched by their addresses.
func dialAny(t *testing.T, ln net.Listener) (*net.TCPConn, net.Conn) {
	accepting.Lock()
	defer accepting.Unlock()
	return dial(t, ln)
}

var accepting sync.Mutex

// ordered reads count numbers from start on, or fewer when the stream may end.
func ordered(t *testing.T, r io.Reader, start uint32, count int, mayEnd bool) bool {
	p := make([]byte, 4)
	for i := range uint32(count) {
		if _, err := io.ReadFull(r, p); err == io.EOF && mayEnd {
			return true
		} else if err != nil {
			t.Error(err)
			return false
		}
		if got := binary.BigEndian.Uint32(p); got != start+i {
			t.Errorf("received number %d, want %d", got, start+i)
			return false
		}
	}
	return true
}

func TestDescriptorsAndSlotsAreUsedAgain(t *testing.T) {
	before := descriptors(t)
	e := fanout.New(fanout.Config{Shards: 1})
	ln := listener(t)
	for i := range 2000 {
		client, server := dial(t, ln)
		s := &script{closed: make(chan error, 1), pull: func(out *fanout.Out) { out.Share([]byte{byte(i)}) }}
		if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
			t.Fatal(err)
		}
		expect(t, client, string([]byte{byte(i)}))
		client.Close() // whose events may come when another has the slot
		if i%2 == 0 {
			s.Reset()
		}
		if i%100 == 0 {
			get(t, s.closed, "Closed")
		}
	}
	eventually(t, "no connection to be left", func() bool { return e.Stats().Connections == 0 })
	e.Close()
	ln.Close()
	eventually(t, "as many descriptors as before", func() bool { return descriptors(t) <= before })
}

func TestAnEngineWithoutDescriptorsRefusesAndGoesOn(t *testing.T) {
	e := engine(t, fanout.Config{})
	ln := listener(t)
	early := &script{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
	echo := play(t, e, early, nil)
	client, server := dial(t, ln)
	s := &script{closed: make(chan error, 1), pull: func(out *fanout.Out) { out.Share([]byte("hello")) }}

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil)
	if restored := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("Add returned %v", err)
	}
	_, _ = echo.Write([]byte("still"))
	expect(t, echo, "still")
	if err := e.Add(&s.Conn, fanout.Taken{Conn: server}, s, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "hello")
}

func TestAConnectionMayBreakAtAnyPoint(t *testing.T) {
	e := engine(t, fanout.Config{})
	ln := listener(t)
	for i := range 200 {
		client, server := dial(t, ln)
		s := &script{closed: make(chan error, 1)}
		s.pull = func(out *fanout.Out) { out.Share(make([]byte, i*100)); out.More() }
		if err := e.Add(&s.Conn, fanout.Taken{Conn: server, First: []byte("head")}, s, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, client, int64(i)*1000*int64(i%3)); err != nil {
			t.Fatal(err)
		}
		_ = client.SetLinger(0)
		client.Close()
		if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrGone) {
			t.Errorf("closed with %v", err)
		}
	}
}
