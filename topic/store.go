package topic

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// DefaultMaxTopics is StoreConfig.MaxTopics when it is 0.
const DefaultMaxTopics = 1_000_000

// StoreConfig configures a Store; the zero value is ready to use.
type StoreConfig struct {
	// Policy returns the policy of a topic by its name. It is called without
	// locks, when a topic is created and by Reload. nil: the default policy.
	Policy func(name string) Policy
	// MaxTopics bounds the number of topics; default 1,000,000.
	MaxTopics int
}

// Store is a map of named logs. It is safe for concurrent use.
type Store struct {
	max int

	mu      sync.RWMutex
	policy  func(name string) Policy
	reloads int // how often policy was replaced
	logs    map[string]*Log
	// queues hold every log once, by the age of its policy, soonest due first.
	queues map[time.Duration]*idleQueue
	// policies shares equal policies, so that a topic costs a pointer.
	policies map[Policy]*Policy
}

// idleQueue is a list of logs in the order in which they are to be looked at:
// all of a queue have the same age, so the one that was put last is due last.
type idleQueue struct{ oldest, newest *Log }

// sweepStep is how many due logs a create looks at, so that churn of topics is
// bounded even when nobody calls Sweep.
const sweepStep = 4

// NewStore returns an empty store.
func NewStore(cfg StoreConfig) *Store {
	s := &Store{max: cfg.MaxTopics, policy: cfg.Policy, logs: make(map[string]*Log), queues: make(map[time.Duration]*idleQueue), policies: make(map[Policy]*Policy)}
	if s.max <= 0 {
		s.max = DefaultMaxTopics
	}
	if s.policy == nil {
		s.policy = func(string) Policy { return Policy{} }
	}
	return s
}

// Get returns the topic's log, or an *[fairlead.Error] of code NotFound.
func (s *Store) Get(name string) (*Log, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if l, ok := s.logs[name]; ok {
		return l, nil
	}
	return nil, fairlead.Errorf(fairlead.NotFound, "there is no topic %q; the first POST to it creates it", name)
}

// Append appends to the topic, which it creates if need be, but not for what
// it then refuses; see [Log.Append].
// Names are checked by [fairlead.CheckTopicName]; Overloaded is returned when
// there are as many topics as allowed.
func (s *Store) Append(ctx context.Context, name string, b Batch) (Result, error) {
	for {
		l, err := s.open(name, b.Events)
		if err != nil {
			return Result{}, err
		}
		res, err := l.Append(ctx, b)
		if !errors.Is(err, errRemoved) { // else it was evicted since it was opened
			return res, err
		}
	}
}

// Open returns the topic's log and creates it if need be.
func (s *Store) Open(name string) (*Log, error) { return s.open(name, nil) }

// open returns the topic's log and creates it if need be, unless its policy
// refuses the events that are to be its first.
func (s *Store) open(name string, first []fairlead.Event) (*Log, error) {
	for {
		s.mu.RLock()
		l, ok := s.logs[name]
		lookup, reloads := s.policy, s.reloads
		s.mu.RUnlock()
		if ok {
			return l, nil
		}
		if err := fairlead.CheckTopicName(name); err != nil {
			return nil, err
		}
		policy := lookup(name).withDefaults()
		if _, _, err := policy.prepare(first); err != nil {
			return nil, err
		}
		l, err := s.create(name, *policy, reloads)
		if l != nil || err != nil {
			return l, err
		}
	}
}

// create returns the new log, or the one that somebody else created; nil when
// the policy is from before the latest reload.
func (s *Store) create(name string, policy Policy, reloads int) (*Log, error) {
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[name]; ok {
		return l, nil
	}
	if s.reloads != reloads {
		return nil, nil
	}
	s.sweep(now, sweepStep)
	if len(s.logs) >= s.max {
		return nil, fairlead.Errorf(fairlead.Overloaded, "there are %d topics, as many as this server allows; it forgets idle ones after their age", s.max)
	}
	l := newLog(name, s.share(policy))
	s.logs[name] = l
	s.enqueue(l, now)
	return l, nil
}

// share returns the one copy of an equal policy. s.mu is held.
func (s *Store) share(policy Policy) *Policy {
	shared := s.policies[policy]
	if shared == nil {
		shared = &policy
		s.policies[policy] = shared
	}
	return shared
}

// Remove removes a topic. Its readers get a fault of code NotFound, unless it
// had ended. The next topic of the name has another life, so that cursors of
// this one are gaps there.
func (s *Store) Remove(name string) error {
	s.mu.Lock()
	l, ok := s.logs[name]
	if ok {
		delete(s.logs, name)
		s.dequeue(l)
	}
	s.mu.Unlock()
	if !ok {
		return fairlead.Errorf(fairlead.NotFound, "there is no topic %q", name)
	}
	l.remove()
	return nil
}

func (l *Log) remove() {
	l.mu.Lock()
	l.removed = true
	l.mu.Unlock()
	l.Fault(errRemoved)
}

// Sweep evicts the topics that are due: without readers, and with nothing
// retained since their last use for the age of their policy. It returns how
// many it evicted; call it now and then.
func (s *Store) Sweep() int {
	now, evicted := time.Now().UnixNano(), 0
	for {
		s.mu.Lock()
		looked, n := s.sweep(now, 1024) // let others have the lock in between
		s.mu.Unlock()
		evicted += n
		if looked == 0 {
			return evicted
		}
	}
}

// sweep looks at up to limit due logs. s.mu is held.
func (s *Store) sweep(now int64, limit int) (looked, evicted int) {
	for _, q := range s.queues {
		for looked < limit && q.oldest != nil && q.oldest.due <= now {
			l := q.oldest
			looked++
			s.dequeue(l)
			if l.retire(now) {
				delete(s.logs, l.name)
				evicted++
			} else {
				s.enqueue(l, now)
			}
		}
	}
	return looked, evicted
}

// retire marks the log removed if nobody needs it any more.
func (l *Log) retire(now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	if len(l.records) > 0 || l.lastUse+int64(l.policy.Age) > now || l.readers() > 0 {
		return false
	}
	l.removed, l.state, l.fault = true, faulted, errRemoved
	return true
}

func (s *Store) enqueue(l *Log, now int64) {
	age := l.age()
	q := s.queues[age]
	if q == nil {
		q = &idleQueue{}
		s.queues[age] = q
	}
	l.queue, l.due, l.older, l.newer = q, now+int64(age), q.newest, nil
	if q.newest == nil {
		q.oldest = l
	} else {
		q.newest.newer = l
	}
	q.newest = l
}

func (s *Store) dequeue(l *Log) {
	q := l.queue
	if l.older == nil {
		q.oldest = l.newer
	} else {
		l.older.newer = l.newer
	}
	if l.newer == nil {
		q.newest = l.older
	} else {
		l.newer.older = l.older
	}
	l.queue, l.older, l.newer = nil, nil, nil
}

func (l *Log) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.policy.Age
}

// Reload gives every topic the policy that the function now says it has; nil
// means the default policy.
func (s *Store) Reload(policy func(name string) Policy) {
	if policy == nil {
		policy = func(string) Policy { return Policy{} }
	}
	s.mu.Lock()
	s.policy = policy
	s.reloads++
	reloads := s.reloads
	clear(s.policies)
	s.mu.Unlock()
	for l := range s.All() {
		p := *policy(l.name).withDefaults()
		s.mu.Lock()
		if s.reloads != reloads { // a later call does it all
			s.mu.Unlock()
			return
		}
		if l.queue != nil { // else it was removed meanwhile
			l.setPolicy(s.share(p))
			s.dequeue(l)
			s.enqueue(l, time.Now().UnixNano())
		}
		s.mu.Unlock()
		l.notify()
	}
}

func (l *Log) setPolicy(p *Policy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.policy.Deliver
	l.policy = p
	if l.extra != nil && was != p.Deliver {
		l.extra.keys = nil
	}
	if p.Deliver == LatestPerKey && was != LatestPerKey {
		for _, r := range l.records[l.head:] {
			r.superseded = false
			if r.Event.Key != "" {
				l.supersede(r)
			}
		}
	}
	l.evict(time.Now().UnixNano())
	l.cool()
	l.wakeAppends()
}

// All returns the topics at the time of the call, in no order.
func (s *Store) All() iter.Seq[*Log] {
	s.mu.RLock()
	logs := make([]*Log, 0, len(s.logs))
	for _, l := range s.logs {
		logs = append(logs, l)
	}
	s.mu.RUnlock()
	return slices.Values(logs)
}

// Len returns the number of topics.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.logs)
}
