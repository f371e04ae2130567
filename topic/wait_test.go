package topic_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// took appends one event and reports how long that took.
func took(t *testing.T, l *topic.Log, data string) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := l.Append(t.Context(), topic.Batch{Events: events(data)})
	return time.Since(start), err
}

func TestAWaitTopicHasOneReader(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Wait})
	r, second := read(t, l, fairlead.Latest), topic.NewReader()
	wantCode(t, second.Add(l, fairlead.Latest), fairlead.Conflict)
	r.Close()
	if err := second.Add(l, fairlead.Latest); err != nil {
		t.Fatal("the reader has left:", err)
	}
	second.Close()
}

func TestThePublisherWaitsUntilItsReaderHasConsumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2, WaitTimeout: 10 * time.Second})
		publish(t, l, "a b") // without a reader there is room too, but no more
		r := read(t, l, fairlead.Earliest)
		buf := make([]topic.Item, 1)
		r.Poll(buf)
		time.AfterFunc(3*time.Second, func() { r.Poll(buf) }) // says that a was consumed
		if d, err := took(t, l, "c"); err != nil || d != 3*time.Second {
			t.Fatalf("the append took %v, %v; want 3 s", d, err)
		}
		synctest.Wait() // for Poll to return
		d, err := took(t, l, "d")
		wantCode(t, err, fairlead.Overloaded)
		if d != 10*time.Second || fairlead.AsError(err).RetryAfter == 0 {
			t.Fatalf("refused after %v with %+v; want 10 s and a time to try again", d, err)
		}
		want(t, r, "c")
		if d, err := took(t, l, "d"); err != nil || d != 0 {
			t.Fatalf("the append took %v, %v; want none", d, err)
		}
		want(t, r, "d")
	})
}

func TestAWaitTopicKeepsWhatItsReaderHasYetToConsume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2, Age: time.Minute})
		publish(t, l, "a b")
		time.Sleep(time.Hour)
		r := read(t, l, fairlead.Earliest)
		at := want(t, r, "a b")[0].Cursor
		r.Close()
		if _, err := took(t, l, "c"); err != nil {
			t.Fatal("both were consumed:", err)
		}
		want(t, read(t, l, at), "gap1 c") // b was consumed, so that its age counted
	})
}

func TestAReaderThatComesBackPastWhatThePublisherWaitsForMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2})
		publish(t, l, "a b")
		r := read(t, l, fairlead.Earliest)
		buf := make([]topic.Item, 2)
		r.Poll(buf)
		r.Close() // before it could say that it consumed them
		time.AfterFunc(time.Second, func() {
			if err := topic.NewReader().Add(l, buf[1].Cursor); err != nil {
				t.Error(err)
			}
		})
		if d, err := took(t, l, "c"); err != nil || d != time.Second {
			t.Errorf("the append took %v, %v; want 1 s", d, err)
		}
	})
}

// A page is read by a reader of its own, which leaves before it could say that
// it consumed anything: the cursor that the next one comes with says so.
func TestPagesMakeRoomForThePublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2})
		at, seen := fairlead.Earliest, ""
		page := func() {
			r := topic.NewReader()
			defer r.Close()
			if err := r.Add(l, at); err != nil {
				t.Error(err)
			}
			buf := make([]topic.Item, 4)
			buf = buf[:r.Poll(buf)]
			seen += show(buf)
			if len(buf) > 0 {
				at = buf[len(buf)-1].Cursor
			}
		}
		for _, word := range []string{"a", "b", "c", "d", "e", "f"} {
			if d, err := took(t, l, word); err != nil || d != 0 {
				t.Fatalf("the append of %s took %v, %v; want none", word, d, err)
			}
			page()
		}
		page()
		publish(t, l, "g h")
		page() // reads both; that it did the next reader tells
		time.AfterFunc(time.Second, func() { read(t, l, at).Close() })
		if d, err := took(t, l, "i"); err != nil || d != time.Second {
			t.Errorf("the append took %v, %v; want until the next page", d, err)
		}
		synctest.Wait()
		if seen != "abcdefg h" {
			t.Errorf("pages of %q", seen)
		}
	})
}

func TestAWordConsumesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, word := range []fairlead.Cursor{fairlead.Earliest, fairlead.Latest, fairlead.Snapshot, fairlead.NewCursor(1, 9)} {
			l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2})
			publish(t, l, "a b")
			read(t, l, word).Close()
			_, err := took(t, l, "c")
			wantCode(t, err, fairlead.Overloaded)
		}
	})
}

func TestPatienceEndsWhenTheReaderIsSentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Events: 2, Patience: 5 * time.Second, OnLag: topic.LagClose})
		publish(t, l, "a b")
		r := read(t, l, fairlead.Earliest)
		if d, err := took(t, l, "c"); err != nil || d != 5*time.Second {
			t.Fatalf("the append took %v, %v; want all of its patience", d, err)
		}
		time.AfterFunc(time.Second, func() { want(t, r, "lag1") })
		if d, err := took(t, l, "d"); err != nil || d != time.Second {
			t.Errorf("the append took %v, %v; want until the reader was sent away", d, err)
		}
		synctest.Wait()
	})
}

func TestNobodyWaitsForEventsThatAreTooOldAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Events: 2, Patience: 5 * time.Second, Age: time.Minute})
		publish(t, l, "a b")
		r := read(t, l, fairlead.Earliest)
		time.Sleep(time.Minute)
		if d, err := took(t, l, "c"); err != nil || d != 0 {
			t.Errorf("the append took %v, %v; want none", d, err)
		}
		want(t, r, "gap2 c")
	})
}

func TestAWaitingPublisherStopsWithItsContextOrTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 1})
		publish(t, l, "a")
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := l.Append(ctx, topic.Batch{Events: events("b")}); !errors.Is(err, gone) {
			t.Fatalf("error %v, want the context's cause", err)
		}
		time.AfterFunc(time.Second, l.Close)
		d, err := took(t, l, "b")
		wantCode(t, err, fairlead.Conflict)
		if d != time.Second {
			t.Errorf("refused after %v, want 1 s", d)
		}
		want(t, read(t, l, fairlead.Earliest), "a end")
	})
}

func TestABatchThatAWaitTopicCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 2})
	_, err := l.Append(t.Context(), topic.Batch{Events: events("a b c")})
	wantCode(t, err, fairlead.TooLarge)
}

func TestARepeatedPublishThatWaitedTwiceIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 1})
		publish(t, l, "a")
		r := read(t, l, fairlead.Earliest)
		results := make(chan topic.Result, 2)
		for range 2 {
			go func() {
				res, err := l.Append(t.Context(), topic.Batch{Events: events("b"), IdempotencyKey: "k"})
				if err != nil {
					t.Error(err)
				}
				results <- res
			}()
		}
		synctest.Wait()
		want(t, r, "a")
		synctest.Wait()
		want(t, r, "b")
		one, two := <-results, <-results
		if one.Repeated == two.Repeated || one.Last != two.Last {
			t.Errorf("results %+v and %+v", one, two)
		}
	})
}

func TestPatienceWaitsForAConnectedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Events: 2, Patience: 5 * time.Second})
		publish(t, l, "a b")
		if d, err := took(t, l, "c"); err != nil || d != 0 {
			t.Fatalf("without a reader the append took %v, %v", d, err)
		}
		quick, slow := read(t, l, fairlead.Earliest), read(t, l, fairlead.Earliest)
		want(t, quick, "b c")
		buf := make([]topic.Item, 1)
		slow.Poll(buf)
		time.AfterFunc(time.Second, func() { slow.Poll(buf) })
		if d, err := took(t, l, "d"); err != nil || d != time.Second {
			t.Fatalf("the append took %v, %v; want 1 s", d, err)
		}
		synctest.Wait()
		want(t, quick, "d")
		if d, err := took(t, l, "e"); err != nil || d != 5*time.Second {
			t.Fatalf("the append took %v, %v; want all of its patience", d, err)
		}
		want(t, quick, "e")
		time.AfterFunc(2*time.Second, slow.Close)
		if d, err := took(t, l, "f"); err != nil || d != 2*time.Second {
			t.Fatalf("the append took %v, %v; want until the reader left", d, err)
		}
		want(t, quick, "f")
	})
}

func TestPatienceIsNotSpentOnWhatNoReaderCouldChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := topic.New("n", topic.Policy{Events: 2, Patience: 5 * time.Second, OnLag: topic.LagClose})
		start := time.Now()
		publish(t, l, "a b")
		r, lagging := read(t, l, fairlead.Earliest), read(t, l, fairlead.Latest)
		want(t, r, "a b")
		if _, err := l.Append(t.Context(), topic.Batch{Events: events("c d e f")}); err != nil { // larger than the retention
			t.Fatal(err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("a batch larger than the retention waited %v for readers who had read all", d)
		}
		want(t, r, "lag2")
		want(t, lagging, "lag2")
		publish(t, l, "g h i")
		if d := time.Since(start); d != 0 {
			t.Errorf("appends waited %v for readers that were sent away", d)
		}
	})
}

func TestAPolicyThatBeginsToWaitKnowsWhatWasConsumedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{})
		l, err := s.Open("n")
		if err != nil {
			t.Fatal(err)
		}
		r := read(t, l, fairlead.Earliest)
		publish(t, l, "a b c")
		want(t, r, "a b c")
		s.Reload(func(string) topic.Policy { return topic.Policy{Deliver: topic.Wait, Events: 2} })
		if d, err := took(t, l, "d"); err != nil || d != 0 {
			t.Fatalf("the append took %v, %v", d, err)
		}
		want(t, r, "d")
	})
}
