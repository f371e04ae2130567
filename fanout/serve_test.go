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

func TestAClientThatTakesNothingStalls(t *testing.T) {
	event := func(out *fanout.Out) { out.Add([]byte("event")) }
	for name, c := range map[string]struct {
		options fanout.Options
		pull    func(out *fanout.Out)
		receive func(out *fanout.Out, p []byte)
		after   time.Duration
	}{
		"for 30 s":         {pull: event, after: 30 * time.Second},
		"for WriteTimeout": {options: fanout.Options{WriteTimeout: 7 * time.Second}, pull: event, after: 7 * time.Second},
		"for less than End allows": {
			pull:  func(out *fanout.Out) { event(out); out.End(fanout.End{Within: 2 * time.Second}) },
			after: 2 * time.Second,
		},
		"for less than an End allows that comes while a Write waits": {
			pull:    event,
			receive: func(out *fanout.Out, _ []byte) { out.Add([]byte("bye")); out.End(fanout.End{Within: 2 * time.Second}) },
			after:   7 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := attend(t, &session{pull: c.pull, receive: c.receive}, c.options)
				if c.receive != nil {
					time.Sleep(5 * time.Second)
					r.sends("x")
				}
				r.ends(fanout.ErrStalled, c.after)
			})
		})
	}
}

func TestASlowClientIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 100<<10)
		s := &session{pull: once(func(out *fanout.Out) { out.Share([]byte(large)); out.End(fanout.End{}) })}
		r := attend(t, s, fanout.Options{WriteTimeout: 10 * time.Second})
		for range 25 { // 16 KiB take 32 s of 200
			time.Sleep(2 * time.Second)
			r.reads(large[:4<<10])
		}
		r.ends(nil, 50*time.Second)
	})
}

func TestAStreamIsIdleWithoutADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := attend(t, &session{pull: once(func(out *fanout.Out) { out.Add([]byte("event")) })}, fanout.Options{})
		r.reads("event")
		synctest.Wait()
		r.mu.Lock()
		until := r.until
		r.mu.Unlock()
		if !until.IsZero() {
			t.Error("HTTP/2 would reset the stream at the deadline of the last Write")
		}
		r.cancel()
		r.ends(fanout.ErrGone, 0)
	})
}

func TestAClientThatGoesIsGone(t *testing.T) {
	t.Run("while idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attend(t, &session{}, fanout.Options{})
			time.Sleep(time.Second)
			_ = r.send.Close()
			r.ends(fanout.ErrGone, time.Second)
		})
	})
	t.Run("while a Write waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attend(t, &session{pull: once(func(out *fanout.Out) { out.Add([]byte("event")) })}, fanout.Options{})
			time.Sleep(time.Second)
			_ = r.take.Close()
			r.ends(fanout.ErrGone, time.Second)
		})
	})
	t.Run("and what it was answered before is tried", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &session{
				pull:    once(func(out *fanout.Out) { out.Add([]byte("event ")) }),
				receive: func(out *fanout.Out, p []byte) { out.Add(p) },
			}
			r := attend(t, s, fanout.Options{})
			synctest.Wait()
			r.sends("reply")
			synctest.Wait()
			_ = r.send.Close()
			time.Sleep(time.Second)
			r.reads("event reply")
			r.ends(fanout.ErrGone, time.Second)
		})
	})
	t.Run("when the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attendAs(t, &session{}, fanout.Options{}, true)
			time.Sleep(time.Second)
			r.cancel()
			r.ends(fanout.ErrGone, time.Second)
		})
	})
	t.Run("when the context ends while a Write waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attendAs(t, &session{pull: once(func(out *fanout.Out) { out.Add([]byte("event")) })}, fanout.Options{}, true)
			time.Sleep(time.Second)
			r.cancel()
			r.ends(fanout.ErrGone, time.Second)
		})
	})
}

func TestTheClientOfAnUnreadStreamMayCloseItsHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{pull: func(out *fanout.Out) {
			out.Add([]byte("event"))
			out.At(time.Now().Add(time.Minute))
		}}
		r := attendAs(t, s, fanout.Options{Silence: time.Second}, true) // which it cannot break
		_ = r.send.Close()
		for range 5 {
			r.reads("event")
		}
		r.cancel()
		r.ends(fanout.ErrGone, 4*time.Minute)
	})
}

func TestAResetEndsAConnectionAtAnyPoint(t *testing.T) {
	event := func(out *fanout.Out) { out.Add([]byte("event")) }
	for name, c := range map[string]struct {
		pull   func(out *fanout.Out)
		before bool
		after  time.Duration
	}{
		"before it is served": {before: true},
		"while it is idle":    {after: time.Second},
		"while a Write waits": {pull: once(event), after: time.Second},
		"while it lingers": {
			pull:  once(func(out *fanout.Out) { out.End(fanout.End{Linger: time.Minute}) }),
			after: time.Second,
		},
		"while it says goodbye": {
			pull:  once(func(out *fanout.Out) { event(out); out.End(fanout.End{Within: time.Minute}) }),
			after: time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &session{pull: c.pull}
				if c.before {
					s.Reset()
				}
				r := attend(t, s, fanout.Options{})
				if !c.before {
					time.Sleep(time.Second)
					s.Wake()
					s.Reset()
				}
				r.ends(fanout.ErrReset, c.after)
			})
		})
	}
}

func TestResetsAndWakesMayComeFromAnywhere(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := &session{}
			s.pull = func(out *fanout.Out) { out.Add([]byte("event")); out.More() }
			r := attend(t, s, fanout.Options{})
			r.drains()
			var all sync.WaitGroup
			for range 4 {
				all.Go(s.Wake)
				all.Go(s.Reset)
				all.Go(func() { _ = s.Stats() })
			}
			all.Wait()
			r.ends(fanout.ErrReset, 0)
		})
	}
}

func TestASessionMayResetItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{}
		s.receive = func(*fanout.Out, []byte) { s.Wake(); s.Reset(); _ = s.Stats() }
		r := attend(t, s, fanout.Options{})
		r.sends("x")
		r.ends(fanout.ErrReset, 0)
	})
	synctest.Test(t, func(t *testing.T) {
		s := &session{}
		s.pull = once(func(out *fanout.Out) { out.Add([]byte("event")); s.Reset() })
		attend(t, s, fanout.Options{}).ends(fanout.ErrReset, 0)
	})
}

func TestAnEndMayLinger(t *testing.T) {
	linger := func(e fanout.End) func(out *fanout.Out) {
		return once(func(out *fanout.Out) { out.Add([]byte("bye")); out.End(e) })
	}
	t.Run("until the client closes too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			heard := ""
			s := &session{pull: linger(fanout.End{Linger: 5 * time.Second}), receive: func(_ *fanout.Out, p []byte) { heard += string(p) }}
			r := attend(t, s, fanout.Options{Heartbeat: time.Second, Silence: time.Second})
			r.reads("bye")
			time.Sleep(2 * time.Second)
			r.sends("last words")
			_ = r.send.Close()
			r.ends(nil, 2*time.Second)
			if heard != "last words" {
				t.Errorf("the session heard %q", heard)
			}
		})
	})
	t.Run("but no longer than it says", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attend(t, &session{pull: linger(fanout.End{Linger: 5 * time.Second})}, fanout.Options{})
			time.Sleep(time.Second)
			r.reads("bye")
			r.ends(nil, 6*time.Second)
		})
	})
	t.Run("with its half closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attend(t, &session{pull: linger(fanout.End{HalfClose: true, Linger: 5 * time.Second})}, fanout.Options{})
			if got, err := io.ReadAll(r.take); string(got) != "bye" || err != nil {
				t.Errorf("the client read %q, %v", got, err)
			}
			r.sends("reply")
			_ = r.send.Close()
			r.ends(nil, 0)
		})
	})
	t.Run("not where nothing can be heard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attendAs(t, &session{pull: linger(fanout.End{HalfClose: true, Linger: 5 * time.Second})}, fanout.Options{}, true)
			r.reads("bye")
			r.ends(nil, 0)
		})
	})
	t.Run("nor when the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := attend(t, &session{pull: linger(fanout.End{Linger: 5 * time.Second})}, fanout.Options{})
			r.reads("bye")
			time.Sleep(time.Second)
			r.cancel()
			r.ends(nil, time.Second)
		})
	})
	t.Run("and its replies take no longer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &session{pull: linger(fanout.End{Linger: 5 * time.Second}), receive: func(out *fanout.Out, p []byte) { out.Add(p) }}
			r := attend(t, s, fanout.Options{})
			r.reads("bye")
			time.Sleep(time.Second)
			r.sends("ping")
			r.ends(fanout.ErrStalled, 5*time.Second)
		})
	})
}

func TestAnEndIsReplacedByWhatTheClientSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a WebSocket's close handshake
		s := &session{
			pull:    once(func(out *fanout.Out) { out.Add([]byte("close ")); out.End(fanout.End{Linger: 5 * time.Second}) }),
			receive: func(out *fanout.Out, p []byte) { out.Add([]byte("and reply")); out.End(fanout.End{}) },
		}
		r := attend(t, s, fanout.Options{})
		r.reads("close ")
		time.Sleep(time.Second)
		r.sends("close")
		r.reads("and reply")
		r.ends(nil, time.Second)
	})
}

func TestAnEndIsNoLossWhenTheClientGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{
			pull:    once(func(out *fanout.Out) { out.Add([]byte("event ")) }),
			receive: func(out *fanout.Out, _ []byte) { out.Add([]byte("bye")); out.End(fanout.End{}) },
		}
		r := attend(t, s, fanout.Options{})
		synctest.Wait()
		r.sends("close")
		_ = r.send.Close()
		time.Sleep(time.Second)
		r.reads("event bye")
		r.ends(nil, time.Second)
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

func TestASessionThatPanicsLeavesNothing(t *testing.T) {
	fault := func() { panic("a fault of the session") }
	for name, s := range map[string]*session{
		"Pull":         {pull: func(*fanout.Out) { fault() }},
		"Beat":         {beat: func(*fanout.Out) { fault() }},
		"Receive":      {receive: func(*fanout.Out, []byte) { fault() }},
		"Out.Work":     {receive: func(out *fanout.Out, _ []byte) { out.Work(fault) }},
		"Beat, unread": {beat: func(*fanout.Out) { fault() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := attendAs(t, s, fanout.Options{Heartbeat: time.Second}, strings.HasSuffix(name, "unread"))
				go func() { _, _ = io.WriteString(r.send, "x") }()
				if err := <-r.done; err == nil || !strings.Contains(err.Error(), "a fault of the session") {
					t.Errorf("Serve returned %v", err)
				}
			})
		})
	}
}

// refuses is a Stream without deadlines.
type refuses struct{ deaf }

func (refuses) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// vague is a Stream whose Write says no more than that it failed, as those of
// HTTP/2 do.
type vague struct{ deaf }

func (v vague) Write(p []byte) (int, error) {
	n, err := v.deaf.Write(p)
	if err != nil {
		err = errors.New("stream closed")
	}
	return n, err
}

func TestWhyAWriteFailedIsToldWhateverTheStreamSays(t *testing.T) {
	event := func(out *fanout.Out) { out.Add([]byte("event")) }
	for name, c := range map[string]struct {
		as    func(s *stream) fanout.Stream
		want  error
		after time.Duration
	}{
		"no deadlines":    {func(s *stream) fanout.Stream { return refuses{deaf{s}} }, errors.ErrUnsupported, 0},
		"no word of them": {func(s *stream) fanout.Stream { return vague{deaf{s}} }, fanout.ErrStalled, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := attendStream(t, &session{pull: once(event)}, fanout.Options{}, c.as)
				r.ends(c.want, c.after)
			})
		})
	}
}
