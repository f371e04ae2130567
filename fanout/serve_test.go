package fanout_test

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestServeLosesNothingHoweverManyWakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers, each = 8, 500
		var mu sync.Mutex
		var log []uint32
		next := 0
		s := &session{}
		s.pull = func(out *fanout.Out) {
			mu.Lock()
			defer mu.Unlock()
			for given := 0; next < len(log); next++ {
				if given++; given > 20 {
					out.More()
					return
				}
				out.Add(binary.BigEndian.AppendUint32(nil, log[next]))
			}
			if next == publishers*each {
				out.End(fanout.End{})
			}
		}
		r := attend(t, s, fanout.Options{})
		for p := range publishers {
			go func() {
				for i := range each {
					mu.Lock()
					log = append(log, uint32(p*each+i))
					s.Wake() // with the lock of the log held, as topics do
					mu.Unlock()
				}
			}()
		}
		got, err := io.ReadAll(r.take)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for _, n := range log {
			want = binary.BigEndian.AppendUint32(want, n)
		}
		if len(log) != publishers*each || string(got) != string(want) {
			t.Errorf("the client got %d bytes, want %d, in order", len(got), len(want))
		}
		r.ends(nil, 0)
		if sent := s.Stats().Sent; sent != uint64(len(want)) {
			t.Errorf("Stats says that %d bytes were sent, want %d", sent, len(want))
		}
	})
}

func TestFramesOfOnePullAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 40<<10)
		s := &session{pull: func(out *fanout.Out) {
			out.Share([]byte("one "))
			out.Add([]byte("two "))
			out.Add([]byte("three "))
			out.Share([]byte("four "))
			out.Share([]byte(large))
			out.Share([]byte("five"))
			out.End(fanout.End{})
		}}
		r := attend(t, s, fanout.Options{})
		r.reads("one two three four " + large + "five")
		r.ends(nil, 0)
		for i, w := range r.written() {
			if i == 0 && !strings.HasPrefix(w, "one two three four x") {
				t.Errorf("the first Write was given %.30q...", w)
			}
			if len(w) > 16<<10 {
				t.Errorf("Write %d was given %d bytes, want 16 KiB at most, to have a deadline each", i, len(w))
			}
		}
		if n := len(r.written()); n != 3 {
			t.Errorf("there were %d Writes, want 3", n)
		}
	})
}

func TestASessionIsPulledWhenAllItGaveIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{}
		pulls := 0
		s.pull = func(out *fanout.Out) {
			if at := s.Stats(); at.Buffered != 0 {
				t.Errorf("pull %d came with %d bytes not written", pulls, at.Buffered)
			}
			if pulls++; pulls == 10 {
				out.End(fanout.End{})
				return
			}
			out.Add([]byte("event "))
			out.More()
		}
		s.receive = func(out *fanout.Out, p []byte) { out.Add(p) }
		r := attend(t, s, fanout.Options{})
		synctest.Wait()
		if at := s.Stats(); at.Buffered != len("event ") || at.Unsent != -1 || at.Engine {
			t.Errorf("Stats of a Write that waits: %+v", at)
		}
		for range 3 {
			r.sends("pong ")
		}
		synctest.Wait()
		if s.Stats().Received != 15 {
			t.Error("what the client sent while a Write waited was not received")
		}
		r.reads("event pong pong pong event ")
		r.drains()
		r.ends(nil, 0)
	})
}

func TestAPullComesExactlyWhenItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		s := &session{}
		s.pull = func(out *fanout.Out) {
			at = append(at, time.Since(began))
			switch len(at) {
			case 1:
				out.Add([]byte("slow"))
				out.At(began.Add(time.Second)) // the Write takes some of that
			case 2:
				out.At(began.Add(time.Hour)) // but it is woken
			case 3:
				out.At(began.Add(4 * time.Second))
				out.At(began.Add(5 * time.Second))
			case 4: // and the wake's is not due any more
			default:
				out.End(fanout.End{})
			}
		}
		s.receive = func(out *fanout.Out, _ []byte) { out.At(began.Add(9 * time.Second)) }
		r := attend(t, s, fanout.Options{})
		time.Sleep(600 * time.Millisecond)
		r.reads("slow")
		time.Sleep(2 * time.Second)
		s.Wake()
		time.Sleep(5 * time.Second)
		r.sends("also to be pulled")
		r.ends(nil, 9*time.Second)
		want := []time.Duration{0, time.Second, 2600 * time.Millisecond, 5 * time.Second, 9 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("pulled at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("pulled at %v, want %v", at, want)
				break
			}
		}
	})
}

func TestHeartbeatsAreSentWhenNothingElseIs(t *testing.T) {
	const interval = 15 * time.Second
	for name, c := range map[string]struct {
		silence time.Duration
		busy    bool // an event each second
		speaks  bool // the client does too
		beats   bool
	}{
		"idle":                        {beats: true},
		"busy":                        {busy: true},
		"busy, and its client heard":  {silence: time.Minute, busy: true, speaks: true},
		"idle, and its client heard":  {silence: time.Minute, speaks: true, beats: true},
		"busy, and its client silent": {silence: time.Hour, busy: true, beats: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var beats []time.Duration
				last := time.Now()
				s := &session{beat: func(out *fanout.Out) {
					beats = append(beats, time.Since(last))
					last = time.Now()
					out.Add([]byte("beat"))
				}}
				if c.busy {
					s.pull = func(out *fanout.Out) {
						out.Add([]byte("event"))
						out.At(time.Now().Add(time.Second))
					}
				}
				r := attend(t, s, fanout.Options{Heartbeat: interval, Silence: c.silence})
				r.drains()
				for range 600 {
					time.Sleep(time.Second)
					if c.speaks {
						r.sends("life")
					}
				}
				synctest.Wait()
				if n := len(beats); c.beats != (n > 0) || c.beats && (n < 36 || n > 44) {
					t.Errorf("%d heartbeats in ten minutes", n)
				}
				for _, b := range beats {
					if b < interval-interval/10 || b > interval+interval/10 {
						t.Errorf("a heartbeat after %v, want %v give or take a tenth", b, interval)
					}
				}
				if len(beats) > 2 && beats[0] == beats[1] && beats[1] == beats[2] {
					t.Error("heartbeats have no jitter")
				}
				r.cancel()
				r.ends(fanout.ErrGone, 600*time.Second)
			})
		})
	}
}

func TestAClientThatSaysNothingIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{beat: func(out *fanout.Out) { out.Add([]byte("ping")) }}
		r := attend(t, s, fanout.Options{Heartbeat: 15 * time.Second, Silence: 40 * time.Second})
		r.drains()
		time.Sleep(30 * time.Second)
		r.sends("pong")
		r.ends(fanout.ErrSilent, 70*time.Second)
	})
}

func TestAClientThatTakesALongTimeIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const silence = 3 * time.Second
		large := strings.Repeat("x", 100<<10)
		s := &session{pull: once(func(out *fanout.Out) { out.Share([]byte(large)) })}
		s.beat = func(out *fanout.Out) { out.Add([]byte("ping")) }
		r := attend(t, s, fanout.Options{Heartbeat: time.Second, Silence: silence})
		for i := range 25 { // 25 s, in which it cannot be asked
			time.Sleep(time.Second)
			r.reads(large[:4<<10])
			if i == 10 {
				r.sends("unasked")
			}
		}
		for range 3 {
			r.reads("ping")
			r.sends("pong")
		}
		last := time.Since(r.began)
		r.drains()
		r.ends(fanout.ErrSilent, last+silence)
	})
}

func TestAClientThatSendsWhatIsOfNoUseIsReadSlowlyByServeToo(t *testing.T) {
	const burst, rate = 1 << 20, 64 << 10 * 20
	for name, c := range map[string]struct {
		sends int
		work  bool
		took  time.Duration
	}{
		"less than is too much":      {sends: burst},
		"too much":                   {sends: burst + 10*rate, took: 10 * time.Second},
		"too much, but it is of use": {sends: burst + 10*rate, work: true},
		"that and a message or two":  {sends: burst + 3*4<<10, took: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &session{receive: func(out *fanout.Out, _ []byte) {
					if c.work {
						out.Work(func() {})
					}
				}}
				r := attend(t, s, fanout.Options{Burst: burst, Silence: time.Second})
				if n, err := io.Copy(r.send, io.LimitReader(zeros{}, int64(c.sends))); n != int64(c.sends) || err != nil {
					t.Fatalf("it could send %d bytes: %v", n, err)
				}
				if took := time.Since(r.began); took > c.took+100*time.Millisecond || took < c.took-100*time.Millisecond {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				_ = r.send.Close()
				<-r.done
			})
		})
	}
}

func TestAClientIsNotSilentWhileItIsWorkedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{receive: func(out *fanout.Out, _ []byte) {
			out.Work(func() { time.Sleep(time.Minute) })
		}}
		r := attend(t, s, fanout.Options{Silence: 10 * time.Second})
		r.drains()
		time.Sleep(5 * time.Second)
		r.sends("work")
		r.ends(fanout.ErrSilent, 75*time.Second)
	})
}

func TestRepliesThatNobodyTakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
		r := attend(t, s, fanout.Options{Silence: 20 * time.Second})
		go func() {
			for {
				if _, err := io.WriteString(r.send, strings.Repeat("ping", 1<<10)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if at := s.Stats(); at.Buffered > 144<<10 || at.Received > 144<<10 { // 64 KiB that are written, as many that wait, and a read each
			t.Errorf("%d bytes were read, and %d wait", at.Received, at.Buffered)
		}
		r.ends(fanout.ErrStalled, 30*time.Second)
	})
}

func TestRepliesGoOnWhenTheClientReadsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 1 << 20
		s := &session{receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
		r := attend(t, s, fanout.Options{Silence: 20 * time.Second})
		go func() {
			_, _ = io.Copy(r.send, io.LimitReader(zeros{}, all))
			_ = r.send.Close()
		}()
		time.Sleep(25 * time.Second) // for so long it was not read from
		if n, err := io.Copy(io.Discard, r.take); n != all || err != nil {
			t.Errorf("the client got %d bytes back, %v; want %d", n, err, all)
		}
		r.ends(fanout.ErrGone, 25*time.Second)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWorkPausesReadingOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []string
		note := func(what string) { mu.Lock(); events = append(events, what); mu.Unlock() }
		s := &session{}
		s.pull = func(out *fanout.Out) { note("pull"); out.Add([]byte("event ")) }
		s.receive = func(out *fanout.Out, p []byte) {
			note("receive " + string(p))
			out.Add([]byte("reply "))
			out.Work(func() {
				time.Sleep(10 * time.Second)
				note("worked")
			})
		}
		r := attend(t, s, fanout.Options{})
		r.reads("event ")
		r.sends("1")
		r.reads("reply ") // before the work is done
		time.Sleep(time.Second)
		s.Wake()
		r.reads("event ") // nor do events wait for it
		go func() { _, _ = io.WriteString(r.send, "2") }()
		time.Sleep(8 * time.Second)
		note("not read yet")
		r.drains()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		_ = r.send.Close()
		r.ends(fanout.ErrGone, 21*time.Second)
		const want = "pull, receive 1, pull, not read yet, worked, pull, receive 2, worked, pull"
		if got := strings.Join(events, ", "); got != want {
			t.Errorf("what happened:\n%s, want\n%s", got, want)
		}
	})
}

func TestWorkIsNoHindranceToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		s := &session{receive: func(out *fanout.Out, _ []byte) { out.Work(func() { <-closed; time.Sleep(time.Second) }) }}
		s.onClose = func(err error) {
			if !errors.Is(err, fanout.ErrGone) {
				t.Errorf("Closed was told %v", err)
			}
			close(closed)
		}
		r := attend(t, s, fanout.Options{})
		r.sends("x")
		synctest.Wait()
		r.cancel()
		r.ends(fanout.ErrGone, time.Second) // and what it runs has returned then
	})
}

func TestReadingGoesOnAfterWorkWhileThereIsMoreToPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{pull: func(out *fanout.Out) { out.Add([]byte("event")); out.More() }}
		s.receive = func(out *fanout.Out, p []byte) {
			if string(p) == "bye" {
				out.End(fanout.End{})
				return
			}
			out.Work(func() { time.Sleep(1500 * time.Microsecond) })
		}
		r := attend(t, s, fanout.Options{})
		var taking sync.WaitGroup
		taking.Go(func() {
			for p := make([]byte, 8); ; time.Sleep(time.Millisecond) {
				if _, err := r.take.Read(p); err != nil {
					return
				}
			}
		})
		r.sends("x")
		r.sends("bye")
		r.ends(nil, 3*time.Millisecond)
		taking.Wait()
	})
}
