package fanout_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

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
	t.Run("reading slowly what floods it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			heard := 0
			s := &session{pull: linger(fanout.End{Linger: 5 * time.Second}), receive: func(_ *fanout.Out, p []byte) { heard += len(p) }}
			r := attend(t, s, fanout.Options{})
			r.reads("bye")
			go func() {
				part := make([]byte, 4<<10)
				for {
					if _, err := r.send.Write(part); err != nil {
						return
					}
				}
			}()
			r.ends(nil, 5*time.Second)
			if heard < 5<<20 || heard > 8<<20 {
				t.Errorf("the session heard %d bytes", heard)
			}
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
