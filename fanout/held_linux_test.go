package fanout_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

func TestNoEventIsForgottenWithinTheFlushDelay(t *testing.T) {
	t.Parallel()
	e := engine(t, fanout.Config{Shards: 1, FlushDelay: 200 * time.Microsecond})
	log := new(journal)
	r := newReader(log)
	client := serve(t, e, &r.Conn, r, nil)
	for i := range 5_000 {
		log.publish([]byte("x"))
		_ = client.SetReadDeadline(time.Now().Add(patient))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// end waits until the session is closed, and returns why.
func (s *script) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.closed:
		return err
	case <-time.After(patient):
		t.Fatal("it is not closed")
		return nil
	}
}

func TestAResetIsNotHeldBackByTheFlushDelay(t *testing.T) {
	t.Parallel()
	e := engine(t, fanout.Config{Shards: 1, FlushDelay: time.Hour})
	s := &script{}
	s.pull = func(out *fanout.Out) { out.Share([]byte("x")) }
	client := play(t, e, s, nil)
	expect(t, client, "x")
	s.Reset()
	if err := s.end(t); !errors.Is(err, fanout.ErrReset) {
		t.Error(err)
	}
}

func TestAClientThatFallsSilentAfterWorkIsClosed(t *testing.T) {
	t.Parallel()
	e := engine(t, fanout.Config{})
	release := make(chan struct{})
	s := &script{receive: func(out *fanout.Out, _ []byte) { out.Work(func() { <-release }) }}
	client := play(t, e, s, &fanout.Options{Silence: 300 * time.Millisecond})
	fmt.Fprint(client, "x")
	close(release)
	if err := s.end(t); !errors.Is(err, fanout.ErrSilent) {
		t.Error(err)
	}
}

func TestTheTimeToBeToldIsNotMadeLongerByTheClient(t *testing.T) {
	t.Parallel()
	e := engine(t, fanout.Config{})
	pulled, again := make(chan struct{}), make(chan struct{})
	s := &script{
		pull: func(out *fanout.Out) {
			close(pulled)
			out.Share(make([]byte, 32<<20)) // more than a client has room for that takes nothing
			out.End(fanout.End{Within: 500 * time.Millisecond})
		},
		receive: func(out *fanout.Out, _ []byte) { out.End(fanout.End{}); close(again) },
	}
	client := play(t, e, s, &fanout.Options{WriteTimeout: time.Hour})
	<-pulled
	fmt.Fprint(client, "x")
	<-again
	if err := s.end(t); !errors.Is(err, fanout.ErrStalled) {
		t.Error(err)
	}
}

func TestAJobThatHasNotBegunGoesWithItsConnection(t *testing.T) {
	t.Parallel()
	e := engine(t, fanout.Config{Workers: 1})
	begun, release := make(chan struct{}), make(chan struct{})
	first := &script{receive: func(out *fanout.Out, _ []byte) { out.Work(func() { close(begun); <-release }) }}
	fmt.Fprint(play(t, e, first, nil), "x")
	<-begun
	asked := make(chan struct{})
	second := &script{receive: func(out *fanout.Out, _ []byte) {
		out.Work(func() { t.Error("the job of a connection that has gone was run") })
		close(asked)
	}}
	fmt.Fprint(play(t, e, second, nil), "x")
	<-asked
	second.Reset()
	if err := second.end(t); !errors.Is(err, fanout.ErrReset) {
		t.Error(err)
	}
	third := &script{}
	ran := make(chan struct{})
	third.receive = func(out *fanout.Out, _ []byte) { out.Work(func() { close(ran) }) }
	fmt.Fprint(play(t, e, third, nil), "x")
	close(release)
	<-ran
}
