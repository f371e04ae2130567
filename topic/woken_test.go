package topic_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// counter is a waker that counts.
type counter struct{ wakes atomic.Int64 }

func (c *counter) Wake() { c.wakes.Add(1) }

// want fails unless the waker was called n times since the last time.
func (c *counter) want(t *testing.T, n int64, what string) {
	t.Helper()
	if got := c.wakes.Swap(0); got != n {
		t.Fatalf("%s: woken %d times, want %d", what, got, n)
	}
}

// wokenReader returns a reader of the logs that has read all there is.
func wokenReader(t *testing.T, ls ...*topic.Log) (*topic.Reader, *counter) {
	t.Helper()
	c := new(counter)
	r := topic.NewWokenReader(c)
	t.Cleanup(r.Close)
	for _, l := range ls {
		if err := r.Add(l, fairlead.Latest); err != nil {
			t.Fatal(err)
		}
		c.want(t, 1, "Add")
	}
	drain(r)
	return r, c
}

func TestAWokenReaderIsWokenOnceUntilItPolls(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	r, c := wokenReader(t, l)
	for range 2 {
		publish(t, l, "a b c")
		c.want(t, 1, "three appends")
		want(t, r, "a b c")
		c.want(t, 0, "polling")
	}
	l.Close()
	c.want(t, 1, "Close")
	want(t, r, "end")
}

func TestAFaultAndAChangeOfPolicyWake(t *testing.T) {
	t.Parallel()
	s := topic.NewStore(topic.StoreConfig{})
	l, err := s.Open("n")
	if err != nil {
		t.Fatal(err)
	}
	r, c := wokenReader(t, l)
	s.Reload(nil)
	c.want(t, 1, "a change of the policy")
	want(t, r, "")
	l.Fault(fairlead.Errorf(fairlead.Internal, "broken"))
	c.want(t, 1, "a fault")
	want(t, r, "fault:internal")
}

func TestWhatAPollLeftIsNoCauseToWake(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	r, c := wokenReader(t, l)
	publish(t, l, "a b c")
	c.want(t, 1, "an append")
	buf := make([]topic.Item, 1)
	for range 3 {
		if r.Poll(buf) != 1 {
			t.Fatal("something is left")
		}
	}
	c.want(t, 0, "polls that fill their buffer")
	if r.Poll(buf) != 0 {
		t.Fatal("nothing is left")
	}
	publish(t, l, "d")
	c.want(t, 1, "an append")
}

func TestAReaderThatHasLeftIsNotWoken(t *testing.T) {
	t.Parallel()
	one, two := topic.New("one", topic.Policy{}), topic.New("two", topic.Policy{})
	r, c := wokenReader(t, one, two)
	publish(t, one, "a")
	c.want(t, 1, "an append")
	if !r.Remove(one) {
		t.Fatal("the topic was read")
	}
	publish(t, one, "b")
	c.want(t, 0, "an append to a topic that was removed")
	want(t, r, "")
	publish(t, two, "c")
	c.want(t, 1, "an append to the other")
	r.Close()
	publish(t, two, "d")
	one.Close()
	two.Close()
	c.want(t, 0, "changes after Close")
	want(t, r, "")
}

func TestAPollEndsWithTheEventThatReachesItsBytes(t *testing.T) {
	t.Parallel()
	one, two := topic.New("one", topic.Policy{}), topic.New("two", topic.Policy{})
	r, c := wokenReader(t, one, two)
	publish(t, one, "aa bb cc dddddd e")
	publish(t, two, "ff")
	c.wakes.Store(0)
	buf := make([]topic.Item, 10)
	for i, w := range []string{"aa bb", "ff cc", "dddddd", "e"} {
		n, more, _ := r.PollSome(buf, 3)
		if got := show(buf[:n]); got != w || more != (i < 3) {
			t.Fatalf("polled %q, more: %v; want %q", got, more, w)
		}
	}
	c.want(t, 0, "polls that ended early")
}

// A publisher waits for what a reader consumed, which its next poll says.
func TestAReaderIsWokenToSayThatItConsumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []topic.Policy{{Deliver: topic.Wait, Events: 2}, {Patience: time.Minute, Events: 2}} {
			l := topic.New("n", p)
			r, c := wokenReader(t, l)
			publish(t, l, "a b")
			c.want(t, 1, "two appends")
			buf := make([]topic.Item, 10)
			if got := show(buf[:r.Poll(buf)]); got != "a b" {
				t.Fatalf("polled %q", got)
			}
			c.want(t, 1, "what was handed out")
			time.AfterFunc(time.Second, func() { r.Poll(buf) })
			if d, err := took(t, l, "c"); err != nil || d != time.Second {
				t.Fatalf("the append took %v, %v; want until the poll", d, err)
			}
			synctest.Wait()
			drain(r)
			c.wakes.Store(0)
			want(t, r, "")
			c.want(t, 0, "a poll for nothing")
			r.Close()
		}
	})
}

func TestNextIsNotForAWokenReader(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("Next returned; it would wait for ever")
		}
	}()
	_, _ = topic.NewWokenReader(new(counter)).Next(t.Context(), make([]topic.Item, 1))
}

func TestPollTellsWhenARateLetsItGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced := topic.New("paced", topic.Policy{Deliver: topic.LatestPerKey, Rate: 1})
		faster := topic.New("faster", topic.Policy{Deliver: topic.LatestPerKey, Rate: 4})
		plain := topic.New("plain", topic.Policy{})
		r, c := wokenReader(t, paced, faster, plain)
		start, buf := time.Now(), make([]topic.Item, 10)
		next := func(words string, due time.Duration) {
			t.Helper()
			n, _, at := r.PollSome(buf, 1<<20)
			if got := show(buf[:n]); got != words || (due == 0) != at.IsZero() || due > 0 && at.Sub(start) != due {
				t.Fatalf("polled %q, due %v; want %q, due %v after %v", got, at, words, due, start)
			}
		}
		next("", 0)
		publish(t, paced, "a")
		next("a", 0)
		publish(t, paced, "b")
		next("", time.Second)
		publish(t, faster, "c")
		publish(t, plain, "d")
		next("c d", time.Second) // also when there was something else
		publish(t, faster, "e")
		next("", 250*time.Millisecond)
		next("", 250*time.Millisecond)
		c.wakes.Store(0)
		time.Sleep(250 * time.Millisecond)
		next("e", time.Second)
		time.Sleep(750 * time.Millisecond)
		c.want(t, 0, "a time that was told")
		next("b", 0)
		publish(t, paced, "f g!")
		c.want(t, 1, "an append")
		next("f g!", 0)
		publish(t, paced, "h")
		next("", 2*time.Second) // critical events take no part in the rate
		r.Remove(paced)
		next("", 0)
	})
}

// What a poll handed out is consumed by the next one in every log, not only in
// that which comes first in it.
func TestThePollAfterConsumesInAllLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := topic.New("one", topic.Policy{Deliver: topic.Wait, Events: 2})
		two := topic.New("two", topic.Policy{Deliver: topic.Wait, Events: 1})
		r, _ := wokenReader(t, one, two)
		publish(t, one, "a")
		publish(t, two, "b")
		want := func(words string) {
			t.Helper()
			buf := make([]topic.Item, 4)
			if got := show(buf[:r.Poll(buf)]); got != words {
				t.Fatalf("polled %q, want %q", got, words)
			}
		}
		want("a b")
		publish(t, one, "c")
		time.AfterFunc(time.Second, func() { want("c") })
		if d, err := took(t, two, "d"); err != nil || d != time.Second {
			t.Fatalf("the append took %v, %v; want until the next poll", d, err)
		}
		synctest.Wait()
		publish(t, one, "e") // a was consumed; c will be by the next poll
		time.AfterFunc(time.Second, func() { want("e d") })
		if d, err := took(t, one, "f"); err != nil || d != time.Second {
			t.Fatalf("the append took %v, %v; want until the next poll", d, err)
		}
		synctest.Wait()
	})
}

func TestRemovingATopicKeepsTheTurnsOfTheOthers(t *testing.T) {
	t.Parallel()
	for gone := range 3 {
		ls, r := logs(t, 3, topic.Policy{})
		drain(r)
		words := []string{"a", "b", "c"}
		for i, l := range ls {
			publish(t, l, words[i])
		}
		r.Remove(ls[gone])
		left := slices.Delete(slices.Clone(ls), gone, gone+1)
		publish(t, left[0], "d")
		if err := r.Add(ls[gone], fairlead.Latest); err != nil {
			t.Fatal(err)
		}
		publish(t, ls[gone], "e")
		wanted := slices.Delete(slices.Clone(words), gone, gone+1)
		wanted[0] += " d"
		want(t, r, strings.Join(wanted, " ")+" e")
	}
}

func TestAReaderOfAThousandTopicsLeavesThemInAnyOrder(t *testing.T) {
	t.Parallel()
	ls, r := logs(t, 1000, topic.Policy{})
	for i, l := range ls {
		publish(t, l, "a")
		if i%2 == 0 && !r.Remove(l) {
			t.Fatal("it was read")
		}
	}
	if got := len(drain(r)); got != 500 {
		t.Errorf("read %d events of the 500 topics that are left", got)
	}
	for i, l := range slices.Backward(ls) {
		if r.Remove(l) != (i%2 == 1) {
			t.Fatal("Remove does not tell whether it was read")
		}
	}
	if s := r.Status(); len(s) != 0 {
		t.Errorf("%d topics are left", len(s))
	}
}
