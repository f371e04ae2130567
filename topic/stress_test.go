package topic_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// follow reads the log from its first event until its end, leaving and coming
// back now and then, and fails unless all is accounted for.
func follow(ctx context.Context, l *topic.Log, size, leaveAfter int) (*place, error) {
	life, _, err := l.Bounds().Latest.Parse()
	if err != nil {
		return nil, err
	}
	p := &place{log: l, cursor: fairlead.NewCursor(life, 0)}
	buf := make([]topic.Item, size)
	for {
		r := topic.NewReader()
		if err := r.Add(l, p.cursor); err != nil {
			return p, err
		}
		for read := 0; read < leaveAfter; {
			n, err := r.Next(ctx, buf)
			if err != nil {
				r.Close()
				return p, err
			}
			read += n
			for _, item := range buf[:n] {
				if err := p.check(item); err != nil {
					r.Close()
					return p, err
				}
			}
			if p.done {
				r.Close()
				return p, nil
			}
		}
		r.Close()
	}
}

func TestConcurrentReadersAccountForEveryEvent(t *testing.T) {
	t.Parallel()
	const publishers, batches = 3, 400
	for _, deliver := range []topic.Deliver{topic.Every, topic.Newest, topic.LatestPerKey} {
		t.Run(topic.Policy{Deliver: deliver}.String(), func(t *testing.T) {
			t.Parallel()
			policy := topic.Policy{Deliver: deliver, Newest: 5, Events: 50}
			s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return policy }})
			l, err := s.Open("n")
			if err != nil {
				t.Fatal(err)
			}
			var readers, writers sync.WaitGroup
			places := make([]*place, 4)
			for i := range places {
				readers.Go(func() {
					p, err := follow(t.Context(), l, 1+3*i, 10+50*i)
					if err != nil {
						t.Error(err)
					}
					places[i] = p
				})
			}
			words := events(strings.Repeat("x=1 y=1 loose z=1 ", 2) + "loose! x=2!")
			published := make(map[fairlead.Cursor][]fairlead.Event)
			var mu sync.Mutex
			for range publishers {
				writers.Go(func() {
					for i := range batches {
						batch := topic.Batch{Events: append([]fairlead.Event(nil), words[:1+i%len(words)]...)}
						res, err := l.Append(t.Context(), batch)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						published[res.Last] = batch.Events
						mu.Unlock()
					}
				})
			}
			writers.Go(func() {
				for range 20 {
					s.Reload(func(string) topic.Policy { return policy })
					s.Sweep()
					l.Stats()
				}
			})
			writers.Wait()
			l.Close()
			readers.Wait()
			f := &life{newest: deliver == topic.Newest, pure: deliver == topic.Every}
			if err := inOrder(f, published); err != nil {
				t.Fatal(err)
			}
			for _, p := range places {
				if err := p.fair(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// inOrder puts the published batches in the order of the log.
func inOrder(f *life, published map[fairlead.Cursor][]fairlead.Event) error {
	byLast := make(map[uint64][]fairlead.Event)
	total := uint64(0)
	for c, batch := range published {
		_, n, err := c.Parse()
		if err != nil {
			return err
		}
		byLast[n] = batch
		total += uint64(len(batch))
	}
	f.events = make([]fairlead.Event, total)
	for last, batch := range byLast {
		if last > total || last < uint64(len(batch)) {
			return fmt.Errorf("a batch of %d events ends at number %d of %d", len(batch), last, total)
		}
		copy(f.events[last-uint64(len(batch)):], batch)
	}
	return nil
}

func TestAWaitTopicHandsEveryEventFromPublishersToItsReader(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Deliver: topic.Wait, Events: 7})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		p, err := follow(t.Context(), l, 3, 40)
		if err != nil {
			t.Error(err)
		}
		if err := p.fair(&life{pure: true}); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		writers.Go(func() {
			for range 300 {
				for {
					_, err := l.Append(t.Context(), topic.Batch{Events: events("a b")})
					if e, ok := errors.AsType[*fairlead.Error](err); ok && e.Code == fairlead.Overloaded {
						continue // a slow machine
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	writers.Wait()
	l.Close()
	readers.Wait()
	if s := l.Stats(); s.Total != 1800 || s.Gaps != 0 {
		t.Errorf("stats %+v", s)
	}
}
