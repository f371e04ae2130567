package topic_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
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
			n, at := r.PollDue(buf)
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

// token is a waker that a goroutine can wait for.
type token chan struct{}

func (k token) Wake() {
	select {
	case k <- struct{}{}:
	default:
	}
}

// A reader that polls only when it was woken, when it filled its buffer and when
// something is due sees all that is published: a wake that is missed leaves the
// goroutines of the bubble waiting for each other, which fails the test.
func TestNoWakeIsMissed(t *testing.T) {
	for name, p := range map[string]topic.Policy{
		"every": {}, "wait": {Deliver: topic.Wait, Events: 7, WaitTimeout: time.Hour}, "patience": {Events: 50, Patience: time.Hour},
		"paced": {Deliver: topic.Newest, Newest: 1000, Rate: 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const topics, publishers, count = 3, 2, 300
				ls := make([]*topic.Log, topics)
				var publishing, reading sync.WaitGroup
				for i := range ls {
					ls[i] = topic.New(fmt.Sprint("n", i), p)
				}
				readers := []int{1, 2, 7, 200} // by the size of their buffers
				if p.Deliver == topic.Wait {
					readers = []int{50}
				}
				for _, size := range readers {
					k := make(token, 1)
					r := topic.NewWokenReader(k)
					for _, l := range ls {
						if err := r.Add(l, fairlead.Earliest); err != nil {
							t.Fatal(err)
						}
					}
					reading.Go(func() {
						defer r.Close()
						wokenToTheEnd(t, r, k, make([]topic.Item, size), ls, publishers*count)
					})
				}
				for _, l := range ls {
					for range publishers {
						publishing.Go(func() {
							for range count {
								if _, err := l.Append(t.Context(), topic.Batch{Events: events("a")}); err != nil {
									t.Error(err)
								}
							}
						})
					}
				}
				publishing.Wait()
				for _, l := range ls {
					l.Close()
				}
				reading.Wait()
			})
		})
	}
}

// wokenToTheEnd reads logs of count events each, woken by k.
func wokenToTheEnd(t *testing.T, r *topic.Reader, k token, buf []topic.Item, ls []*topic.Log, count int) {
	seen, ended := make(map[*topic.Log]int), 0
	for ended < len(ls) {
		<-k
		for more := true; more; {
			n, due := r.PollDue(buf)
			for _, i := range buf[:n] {
				switch i.Kind {
				case topic.KindEvent:
					seen[i.Log] += 1 + int(i.Skipped)
				case topic.KindEnd:
					ended++
				default:
					t.Errorf("an item of kind %v", i.Kind)
				}
			}
			more = n == len(buf)
			if !due.IsZero() && !more {
				time.Sleep(time.Until(due))
				more = true
			}
		}
	}
	for _, l := range ls {
		if seen[l] != count {
			t.Errorf("saw %d events of %s, want %d", seen[l], l.Name(), count)
		}
	}
}

// One that closes readers while they are woken and polled finds no reader left,
// and no wake after Close has returned and the appends that it met are over.
func TestReadersCloseWhileTheyAreWokenAndPolled(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Events: 10})
	stop := make(chan struct{})
	var publishing, reading sync.WaitGroup
	for range 2 {
		publishing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := l.Append(t.Context(), topic.Batch{Events: events("a")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wakers := make([]*counter, 200)
	for i := range wakers {
		wakers[i] = new(counter)
		r := topic.NewWokenReader(wakers[i])
		if err := r.Add(l, fairlead.Latest); err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			buf := make([]topic.Item, 2)
			for range 20 {
				r.Poll(buf)
			}
		})
		reading.Go(r.Close)
	}
	reading.Wait()
	close(stop)
	publishing.Wait()
	for _, c := range wakers {
		c.wakes.Store(0)
	}
	publish(t, l, "b")
	for _, c := range wakers {
		c.want(t, 0, "an append after Close")
	}
	if s := l.Stats(); s.Readers != 0 {
		t.Errorf("%d readers stay", s.Readers)
	}
}

func TestAnIdleReaderOfATopicCostsAtMost300Bytes(t *testing.T) {
	// Not parallel: it measures what all goroutines allocate.
	b := idleReaderBytes(t, 10_000)
	t.Logf("%.0f bytes a reader", b)
	if b > 300 {
		t.Errorf("a reader costs %.0f bytes, want at most 300", b)
	}
}

func TestPollingOneTopicAllocatesNothing(t *testing.T) {
	// Not parallel: it measures what all goroutines allocate.
	l := topic.New("n", topic.Policy{})
	publish(t, l, strings.Repeat("a ", 200))
	r := topic.NewWokenReader(new(counter))
	defer r.Close()
	if err := r.Add(l, fairlead.Earliest); err != nil {
		t.Fatal(err)
	}
	buf := make([]topic.Item, 1)
	if n := testing.AllocsPerRun(100, func() { r.PollDue(buf) }); n != 0 {
		t.Errorf("a poll allocates %v times", n)
	}
}
