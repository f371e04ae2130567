package topic_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// token is a waker that a goroutine can wait for.
type token chan struct{}

func (k token) Wake() {
	select {
	case k <- struct{}{}:
	default:
	}
}

// A reader that polls only when it was woken, when it ended early and when
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
			n, left, due := r.PollSome(buf, 3)
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
			more = left
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

// Two publishers append at the same moment, and again when the reader has seen
// both: the second append often meets the poll for the first, and no later one
// would make up for a wake that was missed.
func TestNoWakeIsMissedByThePollOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 20_000
		l, k := topic.New("n", topic.Policy{Events: 10}), make(token, 1)
		r := topic.NewWokenReader(k)
		defer r.Close()
		if err := r.Add(l, fairlead.Latest); err != nil {
			t.Fatal(err)
		}
		var publishing sync.WaitGroup
		next := []chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
		for _, again := range next {
			publishing.Go(func() {
				for range again {
					if _, err := l.Append(t.Context(), topic.Batch{Events: events("a")}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		buf := make([]topic.Item, 4)
		for range rounds {
			for _, again := range next {
				again <- struct{}{}
			}
			for seen := 0; seen < 2; {
				<-k
				seen += r.Poll(buf)
			}
		}
		for _, again := range next {
			close(again)
		}
		publishing.Wait()
	})
}
