package fanout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestWhatIsSaidFirstComesBeforeWhatIsPulled(t *testing.T) {
	client, server := dial(t, listener(t))
	s := &script{closed: make(chan error, 1)}
	s.receive = func(out *fanout.Out, p []byte) { out.Add(append([]byte("echo "), p...)) }
	s.pull = func(out *fanout.Out) { out.Share([]byte("pulled ")) }
	e := engine(t, fanout.Config{})
	if err := e.Add(&s.Conn, fanout.Taken{Conn: server, First: []byte("head "), Early: []byte("early ")}, s, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, client, "head echo early pulled ")
	fmt.Fprint(client, "late ")
	expect(t, client, "echo late ")
	s.Wake()
	expect(t, client, "pulled ")
	eventually(t, "stats that say so", func() bool {
		st := s.Stats()
		return st.Engine && st.Sent == 40 && st.Received == 11 && st.Buffered == 0 && st.Unsent == 0
	})
	client.Close()
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrGone) {
		t.Errorf("closed with %v", err)
	}
	if st := s.Stats(); st.Engine || st.Unsent != -1 {
		t.Errorf("stats of a closed connection: %+v", st)
	}
}

func TestEveryReaderGetsAllInOrder(t *testing.T) {
	const readers, publishers, each = 300, 4, 50
	e := engine(t, fanout.Config{Shards: 3})
	log := new(journal)
	ln := listener(t)
	var reading sync.WaitGroup
	for range readers {
		client, server := dial(t, ln)
		r := newReader(log)
		if err := e.Add(&r.Conn, fanout.Taken{Conn: server}, r, nil); err != nil {
			t.Fatal(err)
		}
		reading.Go(func() { inOrder(t, client, publishers, each) })
	}
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				log.publish(fmt.Appendf(nil, "%03d %07d ", p, i))
			}
		})
	}
	publishing.Wait()
	reading.Wait()
	if st := e.Stats(); st.Connections != readers || st.Writes == 0 || st.Writes > readers*publishers*each || st.Rounds == 0 {
		t.Errorf("stats %+v", st)
	}
}

// inOrder reads "publisher number " until all of each publisher have come.
func inOrder(t *testing.T, r io.Reader, publishers, each int) {
	next := make([]int, publishers)
	p := make([]byte, 12)
	for range publishers * each {
		if _, err := io.ReadFull(r, p); err != nil {
			t.Error(err)
			return
		}
		var from, i int
		if _, err := fmt.Sscanf(string(p), "%d %d ", &from, &i); err != nil || i != next[from] {
			t.Errorf("received %q, want number %d (%v)", p, next[from], err)
			return
		}
		next[from]++
	}
}

func TestBytesAreEqualHoweverLittleAWriteTakes(t *testing.T) {
	e := engine(t, fanout.Config{})
	log := new(journal)
	var want []byte
	for i := range 40 {
		frame := bytes.Repeat([]byte{byte(i), byte(i >> 1), 3}, 1+i*i*250) // to 1.1 MB
		want = append(want, frame...)
		log.publish(frame)
	}
	r := newReader(log)
	client := serve(t, e, &r.Conn, r, nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was received differs (%v)", err)
	}
}

func TestAStoppedReaderHoldsNobodyUpAndLittle(t *testing.T) {
	e := engine(t, fanout.Config{Shards: 1})
	log := new(journal)
	stopped, other := newReader(log), newReader(log)
	serve(t, e, &stopped.Conn, stopped, nil)
	client := serve(t, e, &other.Conn, other, nil)
	frame := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	for range 2000 { // 32 MiB, which no kernel's buffers hold
		log.publish(frame)
		expect(t, client, string(frame))
	}
	st := stopped.Stats()
	if st.Unsent < 0 || st.Unsent > 64<<10 {
		t.Errorf("%d bytes unsent in the kernel", st.Unsent)
	}
	if st.Buffered == 0 || st.Buffered > 64<<10+len(frame) {
		t.Errorf("%d bytes buffered", st.Buffered)
	}
}

func TestAClientThatTakesNothingIsStalled(t *testing.T) {
	e := engine(t, fanout.Config{})
	s := &script{pull: func(out *fanout.Out) { out.Share(make([]byte, 60<<10)); out.More() }}
	play(t, e, s, &fanout.Options{WriteTimeout: 100 * time.Millisecond})
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrStalled) {
		t.Errorf("closed with %v", err)
	}
}

func TestASilentClientIsClosedAndOneThatSpeaksIsNot(t *testing.T) {
	e := engine(t, fanout.Config{})
	o := &fanout.Options{Silence: 300 * time.Millisecond, Heartbeat: 50 * time.Millisecond}
	s := &script{}
	play(t, e, s, o)
	alive := &script{beat: func(out *fanout.Out) { out.Add([]byte("?")) }}
	client := play(t, e, alive, o)
	for range 12 { // which takes longer
		expect(t, client, "?")
		fmt.Fprint(client, "!")
	}
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrSilent) {
		t.Errorf("closed with %v", err)
	}
	select {
	case err := <-alive.closed:
		t.Errorf("the client that speaks was closed with %v", err)
	default:
	}
}

func TestAResetConnectionIsClosedAtOnceForItsClientToo(t *testing.T) {
	e := engine(t, fanout.Config{})
	s := &script{}
	client := play(t, e, s, nil)
	s.Reset()
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrReset) {
		t.Errorf("closed with %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client read %v, not a reset", err)
	}
	s.Reset()
	s.Wake()
}

func TestAConnectionMayBeResetBeforeItIsServedAndWhileItIsStalled(t *testing.T) {
	e := engine(t, fanout.Config{})
	early := &script{}
	early.Reset()
	play(t, e, early, nil)
	if err := get(t, early.closed, "Closed"); !errors.Is(err, fanout.ErrReset) {
		t.Errorf("closed with %v", err)
	}
	stalled := &script{pull: func(out *fanout.Out) { out.Share(make([]byte, 60<<10)); out.More() }}
	play(t, e, stalled, nil)
	eventually(t, "a stall", func() bool { return stalled.Stats().Buffered > 0 })
	stalled.Wake()
	stalled.Reset()
	if err := get(t, stalled.closed, "Closed"); !errors.Is(err, fanout.ErrReset) {
		t.Errorf("closed with %v", err)
	}
}

func TestEndSendsWhatWasGivenAndThenCloses(t *testing.T) {
	e := engine(t, fanout.Config{})
	big := bytes.Repeat([]byte("x"), 4<<20)
	s := &script{pull: func(out *fanout.Out) { out.Share(big); out.Share([]byte("end")); out.End(fanout.End{}) }}
	client := play(t, e, s, nil)
	got, err := io.ReadAll(client)
	if err != nil || len(got) != len(big)+3 {
		t.Errorf("received %d bytes, %v", len(got), err)
	}
	if err := get(t, s.closed, "Closed"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestAnEndThatIsNotTakenInTimeIsAReset(t *testing.T) {
	e := engine(t, fanout.Config{})
	s := &script{pull: func(out *fanout.Out) {
		out.Share(make([]byte, 16<<20))
		out.End(fanout.End{Within: 50 * time.Millisecond})
	}}
	play(t, e, s, nil)
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrStalled) {
		t.Errorf("closed with %v", err)
	}
}

func TestALingeringConnectionHearsItsClientOut(t *testing.T) {
	e := engine(t, fanout.Config{})
	heard := make(chan string, 1)
	s := &script{
		pull: func(out *fanout.Out) {
			out.Share([]byte("bye"))
			out.End(fanout.End{Linger: time.Hour, HalfClose: true})
		},
		receive: func(_ *fanout.Out, p []byte) { heard <- string(p) },
	}
	client := play(t, e, s, nil)
	if got, err := io.ReadAll(client); err != nil || string(got) != "bye" { // up to our half-close
		t.Errorf("received %q, %v", got, err)
	}
	fmt.Fprint(client, "well")
	if got := get(t, heard, "Receive"); got != "well" {
		t.Errorf("heard %q", got)
	}
	client.CloseWrite()
	if err := get(t, s.closed, "Closed"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestALingeringConnectionEndsByItself(t *testing.T) {
	e := engine(t, fanout.Config{})
	s := &script{pull: func(out *fanout.Out) { out.End(fanout.End{Linger: 30 * time.Millisecond}) }}
	play(t, e, s, nil)
	if err := get(t, s.closed, "Closed"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestALingeringConnectionIsReadSlowly(t *testing.T) {
	e := engine(t, fanout.Config{})
	heard := 0
	s := &script{
		pull:    func(out *fanout.Out) { out.End(fanout.End{Linger: 500 * time.Millisecond}) },
		receive: func(_ *fanout.Out, p []byte) { heard += len(p) },
	}
	client := play(t, e, s, nil)
	part := make([]byte, 64<<10)
	for {
		if _, err := client.Write(part); err != nil {
			break
		}
	}
	get(t, s.closed, "Closed")
	// Without a pace it would be hundreds of megabytes.
	if most := 4 << 20; heard == 0 || heard > most {
		t.Errorf("the session heard %d bytes", heard)
	}
}

func TestALingeringConnectionEndsWhenItsSessionSaysSo(t *testing.T) {
	e := engine(t, fanout.Config{})
	s := &script{
		pull:    func(out *fanout.Out) { out.End(fanout.End{Linger: time.Hour}) },
		receive: func(out *fanout.Out, _ []byte) { out.Add([]byte("ok")); out.End(fanout.End{}) },
	}
	client := play(t, e, s, nil)
	fmt.Fprint(client, "bye")
	if got, err := io.ReadAll(client); err != nil || string(got) != "ok" {
		t.Errorf("received %q, %v", got, err)
	}
	if err := get(t, s.closed, "Closed"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestAPullComesAtTheTimeAskedForUnlessItIsReplaced(t *testing.T) {
	e := engine(t, fanout.Config{})
	pulls := 0
	s := &script{}
	s.pull = func(out *fanout.Out) {
		switch pulls++; pulls {
		case 1:
			out.At(time.Now().Add(time.Hour))
			out.At(time.Now().Add(5 * time.Millisecond))
		case 2:
			out.Share([]byte("in time"))
			out.At(time.Now().Add(-time.Hour))
		case 3:
			out.Share([]byte(" and late"))
		}
	}
	client := play(t, e, s, nil)
	expect(t, client, "in time and late")
}

func TestWorkPausesReadingAndIsFollowedByAPull(t *testing.T) {
	e := engine(t, fanout.Config{Workers: 1})
	release, heard := make(chan struct{}), make(chan string, 8)
	done := false
	s := &script{}
	s.receive = func(out *fanout.Out, p []byte) {
		heard <- string(p)
		if string(p) == "work" {
			out.Work(func() { <-release; done = true })
		}
	}
	s.pull = func(out *fanout.Out) {
		if done {
			out.Share([]byte("done"))
		} else {
			out.Share([]byte("-"))
		}
	}
	client := play(t, e, s, nil)
	expect(t, client, "-")
	fmt.Fprint(client, "work")
	get(t, heard, "the first message")
	fmt.Fprint(client, "more")
	other := &script{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
	echo := play(t, e, other, nil)
	fmt.Fprint(echo, "others go on")
	expect(t, echo, "others go on")
	select {
	case got := <-heard:
		t.Errorf("%q was read while the first message was worked on", got)
	default:
	}
	close(release)
	if got := get(t, heard, "the second message"); got != "more" {
		t.Errorf("heard %q", got)
	}
	expect(t, client, "done")
}

func TestClosedDoesNotWaitForWorkAndCloseDoes(t *testing.T) {
	e := fanout.New(fanout.Config{})
	release, began := make(chan struct{}), make(chan struct{})
	s := &script{receive: func(out *fanout.Out, _ []byte) { out.Work(func() { close(began); <-release }) }}
	client := play(t, e, s, nil)
	fmt.Fprint(client, "work")
	get(t, began, "the work")
	s.Reset()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the client was not reset")
	}
	if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrReset) {
		t.Errorf("closed with %v", err)
	}
	joined := make(chan struct{})
	go func() {
		e.Close()
		close(joined)
	}()
	eventually(t, "the engine to take no more", func() bool {
		_, server := dial(t, listener(t))
		defer server.Close()
		return errors.Is(e.Add(new(fanout.Conn), fanout.Taken{Conn: server}, &script{closed: make(chan error, 1)}, nil), fanout.ErrClosed)
	})
	select {
	case <-joined:
		t.Error("Close did not wait for the work")
	default:
	}
	close(release)
	get(t, joined, "Close")
}

func TestASessionThatPanicsEndsAlone(t *testing.T) {
	e := engine(t, fanout.Config{Shards: 1})
	other := &script{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
	echo := play(t, e, other, nil)
	for name, s := range map[string]*script{
		"Pull":    {pull: func(*fanout.Out) { panic("oops") }},
		"Receive": {receive: func(*fanout.Out, []byte) { panic("oops") }},
		"Beat":    {beat: func(*fanout.Out) { panic("oops") }},
		"Work":    {receive: func(out *fanout.Out, _ []byte) { out.Work(func() { panic("oops") }) }},
	} {
		client := play(t, e, s, &fanout.Options{Heartbeat: 10 * time.Millisecond})
		fmt.Fprint(client, "x")
		if err := get(t, s.closed, "Closed"); err == nil || !strings.Contains(err.Error(), "oops") {
			t.Errorf("%s: closed with %v", name, err)
		}
		fmt.Fprint(echo, name)
		expect(t, echo, name)
	}
}

func TestCloseResetsAllAndTakesNoMore(t *testing.T) {
	e := fanout.New(fanout.Config{})
	var sessions []*script
	for range 10 {
		s := &script{}
		play(t, e, s, nil)
		sessions = append(sessions, s)
	}
	e.Close()
	for _, s := range sessions {
		if err := get(t, s.closed, "Closed"); !errors.Is(err, fanout.ErrClosed) {
			t.Errorf("closed with %v", err)
		}
	}
	client, server := dial(t, listener(t))
	if err := e.Add(new(fanout.Conn), fanout.Taken{Conn: server}, &script{}, nil); !errors.Is(err, fanout.ErrClosed) {
		t.Errorf("Add returned %v", err)
	}
	fmt.Fprint(client, "still here")
	expect(t, server, "still here")
	server.Close()
	e.Close()
}

func TestAConnectionWithoutADescriptorIsUntouched(t *testing.T) {
	e := engine(t, fanout.Config{})
	a, b := net.Pipe()
	defer b.Close()
	if err := e.Add(new(fanout.Conn), fanout.Taken{Conn: a}, &script{}, nil); !errors.Is(err, fanout.ErrNoDescriptor) {
		t.Errorf("Add returned %v", err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if err := e.Add(new(fanout.Conn), fanout.Taken{Conn: udp}, &script{}, nil); !errors.Is(err, fanout.ErrNoDescriptor) {
		t.Errorf("Add returned %v", err)
	}
	go a.Close()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
