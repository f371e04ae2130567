package topic_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// put appends to a topic of the store.
func put(t *testing.T, s *topic.Store, name, words string) topic.Result {
	t.Helper()
	res, err := s.Append(t.Context(), name, topic.Batch{Events: events(words)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func get(t *testing.T, s *topic.Store, name string) *topic.Log {
	t.Helper()
	l, err := s.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestARefusedFirstAppendCreatesNoTopic(t *testing.T) {
	t.Parallel()
	for _, b := range []topic.Batch{
		{Events: []fairlead.Event{{Data: make([]byte, 5000)}}},
		{Events: events("a b c")},
	} {
		s := topic.NewStore(topic.StoreConfig{MaxTopics: 1, Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.Wait, Events: 2, Bytes: 4000}
		}})
		for range 2 {
			_, err := s.Append(t.Context(), "n", b)
			wantCode(t, err, fairlead.TooLarge)
			_, err = s.Get("n")
			wantCode(t, err, fairlead.NotFound)
		}
		put(t, s, "other", "a") // there is room for it
		_, err := s.Append(t.Context(), "other", b)
		wantCode(t, err, fairlead.TooLarge)
		want(t, read(t, get(t, s, "other"), fairlead.Earliest), "a")
	}
}

func TestTheFirstAppendCreatesATopic(t *testing.T) {
	t.Parallel()
	s := topic.NewStore(topic.StoreConfig{})
	_, err := s.Get("a/b")
	wantCode(t, err, fairlead.NotFound)
	put(t, s, "a/b", "x")
	put(t, s, "a/b", "y")
	want(t, read(t, get(t, s, "a/b"), fairlead.Earliest), "x y")
	_, err = s.Append(t.Context(), "a//b", topic.Batch{Events: events("x")})
	wantCode(t, err, fairlead.InvalidArgument)
	if s.Len() != 1 || len(slices.Collect(s.All())) != 1 {
		t.Errorf("%d topics", s.Len())
	}
}

func TestARemovedTopicFaultsItsReadersAndComesBackWithAnotherLife(t *testing.T) {
	t.Parallel()
	s := topic.NewStore(topic.StoreConfig{})
	wantCode(t, s.Remove("n"), fairlead.NotFound)
	put(t, s, "n", "a b")
	old := get(t, s, "n")
	r := read(t, old, fairlead.Earliest)
	if err := s.Remove("n"); err != nil {
		t.Fatal(err)
	}
	at := want(t, r, "a b fault:not_found")[0].Cursor
	wantCode(t, topic.NewReader().Add(old, at), fairlead.NotFound)
	_, err := old.Append(t.Context(), topic.Batch{Events: events("c")})
	wantCode(t, err, fairlead.NotFound)
	put(t, s, "n", "c")
	want(t, read(t, get(t, s, "n"), at), "gap? c")
}

func TestATopicThatHadEndedIsRemovedWithoutAFault(t *testing.T) {
	t.Parallel()
	s := topic.NewStore(topic.StoreConfig{})
	put(t, s, "n", "a")
	l := get(t, s, "n")
	r := read(t, l, fairlead.Earliest)
	l.Close()
	if err := s.Remove("n"); err != nil {
		t.Fatal(err)
	}
	want(t, r, "a end")
	put(t, s, "n", "b")
}

func TestAnIdleTopicIsEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{Policy: func(name string) topic.Policy {
			if name == "short" {
				return topic.Policy{Age: time.Second}
			}
			return topic.Policy{Age: time.Minute}
		}})
		put(t, s, "idle", "a")
		put(t, s, "read", "a")
		put(t, s, "short", "a")
		r := read(t, get(t, s, "read"), fairlead.Latest)
		if n := s.Sweep(); n != 0 {
			t.Fatalf("%d evicted at once", n)
		}
		time.Sleep(time.Second)
		if n := s.Sweep(); n != 1 {
			t.Fatalf("%d evicted after a second, want short", n)
		}
		time.Sleep(30 * time.Second)
		put(t, s, "used", "a")
		time.Sleep(29 * time.Second)
		if n := s.Sweep(); n != 1 {
			t.Fatalf("%d evicted after a minute, want idle", n)
		}
		get(t, s, "read")
		get(t, s, "used")
		r.Close()
		time.Sleep(time.Minute)
		if n := s.Sweep(); n != 2 || s.Len() != 0 {
			t.Fatalf("%d evicted when nobody reads, %d left", n, s.Len())
		}
	})
}

func TestCreatingEvictsWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{MaxTopics: 10})
		for i := range 10 {
			put(t, s, fmt.Sprint(i), "a")
		}
		_, err := s.Append(t.Context(), "more", topic.Batch{})
		wantCode(t, err, fairlead.Overloaded)
		put(t, s, "3", "an existing one takes more")
		time.Sleep(topic.DefaultAge)
		for i := range 100 {
			put(t, s, fmt.Sprint("new", i), "a")
			if i%10 == 9 {
				time.Sleep(topic.DefaultAge)
			}
		}
	})
}

func TestAReloadChangesThePoliciesOfTopicsThatAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{})
		put(t, s, "idle", "a")
		put(t, s, "n", "x=1 x=2 y=1")
		r := read(t, get(t, s, "n"), fairlead.Earliest)
		s.Reload(func(string) topic.Policy { return topic.Policy{Deliver: topic.LatestPerKey, Age: time.Minute} })
		want(t, r, "+1 x=2 y=1")
		put(t, s, "n", "x=3 x=4")
		put(t, s, "new", "x=1 x=2")
		want(t, r, "+1 x=4")
		want(t, read(t, get(t, s, "new"), fairlead.Earliest), "+1 x=2")
		s.Reload(nil)
		want(t, read(t, get(t, s, "n"), fairlead.Earliest), "x=1 x=2 y=1 x=3 x=4")
		s.Reload(func(string) topic.Policy { return topic.Policy{Events: 1, Age: time.Minute} })
		want(t, read(t, get(t, s, "n"), fairlead.Earliest), "x=4")
		time.Sleep(time.Minute)
		if n := s.Sweep(); n != 1 {
			t.Errorf("%d evicted after the new age, want the idle one", n)
		}
	})
}

func TestATopicCreatedDuringAReloadHasTheNewPolicy(t *testing.T) {
	t.Parallel()
	var s *topic.Store
	newest := func(string) topic.Policy { return topic.Policy{Deliver: topic.Newest} }
	s = topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
		s.Reload(newest) // just when a topic is being created
		return topic.Policy{}
	}})
	put(t, s, "n", "a b")
	want(t, read(t, get(t, s, "n"), fairlead.Earliest), "+1 b")
}

func TestAReloadEndsTheWaitOfAPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.Wait, Events: 1}
		}})
		put(t, s, "n", "a")
		time.AfterFunc(time.Second, func() { s.Reload(nil) })
		if d, err := took(t, get(t, s, "n"), "b"); err != nil || d != time.Second {
			t.Errorf("the append took %v, %v; want 1 s", d, err)
		}
	})
}

func TestAWaitingPublisherOfARemovedTopicPublishesToTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.Wait, Events: 1}
		}})
		put(t, s, "n", "a")
		time.AfterFunc(time.Second, func() {
			if err := s.Remove("n"); err != nil {
				t.Error(err)
			}
		})
		put(t, s, "n", "b")
		want(t, read(t, get(t, s, "n"), fairlead.Earliest), "b")
	})
}

func TestAnAppendIsNeverLostToASweep(t *testing.T) {
	t.Parallel()
	// An age of a nanosecond: a topic is due as soon as it is there. An append
	// either is in the log that evicts it by age, or starts another life.
	s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Age: 1} }})
	stop, swept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(swept)
		for {
			s.Sweep()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	var mu sync.Mutex
	cursors := map[fairlead.Cursor]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				res, err := s.Append(t.Context(), "n", topic.Batch{Events: events("a")})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				cursors[res.Last] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(stop)
	<-swept
	if len(cursors) != 8000 {
		t.Errorf("%d positions for 8000 appends", len(cursors))
	}
}

func TestAReaderOfATopicKeepsItFromBeingSwept(t *testing.T) {
	t.Parallel()
	s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Age: 1} }})
	r := topic.NewReader()
	defer r.Close()
	for {
		l, err := s.Open("n")
		if err != nil {
			t.Fatal(err)
		}
		if r.Add(l, fairlead.Earliest) == nil {
			break
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			s.Sweep()
		}
	})
	seen := uint64(0)
	for range 1000 {
		if _, err := s.Append(t.Context(), "n", topic.Batch{Events: events("a")}); err != nil {
			t.Fatal(err)
		}
		for _, item := range drain(r) {
			switch item.Kind {
			case topic.KindEvent:
				seen++
			case topic.KindGap:
				seen += item.Gap.Skipped
			default:
				t.Fatalf("item %+v", item)
			}
		}
	}
	wg.Wait()
	if seen != 1000 {
		t.Errorf("1000 events were read or a gap, but for %d", 1000-seen)
	}
}
