package fanout

import (
	"math"
	"runtime"
	"slices"
)

const (
	// roundTime and roundGiven are how long a round may take, in nanoseconds, and how
	// many bytes sessions may give in it, before events, timers, arrivals and what
	// was woken are looked at. Who had no turn is the first in the next.
	roundTime  = 1_000_000
	roundGiven = 1 << 20
	// looksAfter is how many turns are had between looks at the clock.
	looksAfter = 8
)

// run serves the connections until the shard is shut.
func (s *shard) run() {
	defer s.file.Close()
	for {
		s.now = s.clock()
		if s.mail.Swap(false) {
			s.collect()
		}
		s.admit()
		s.timers()
		if s.take() && s.engine.config.FlushDelay > 0 {
			s.taken, s.held = s.live.len(), math.MaxInt64
		}
		busy := s.queued()
		if busy {
			s.round()
		}
		if s.held == math.MaxInt64 && s.taken <= 0 {
			s.held = s.clock() + int64(s.engine.config.FlushDelay)
		}
		if busy {
			s.poll()
			continue
		}
		if s.stopping {
			return
		}
		if s.came.len() == 0 {
			s.park()
		}
	}
}

// round gives the flows that have something to do their turns. Those that have
// much to catch up with have a round of their own after the others', so that they
// hold nobody up for longer than that.
func (s *shard) round() {
	s.taken -= s.turns(&s.live, looksAfter)
	s.turns(&s.behind, 1) // each gives much
	clear(s.gathered)     // so that none is kept, and none is taken for another in its place
	s.gathered = s.gathered[:0]
	s.rounds.Add(1)
	if s.queued() {
		runtime.Gosched() // others have work on this processor too
	}
}

// turns gives each flow in the line its turn, but no more than there is time for,
// and returns how many that was. What is queued meanwhile waits for the next round.
func (s *shard) turns(l *line[*flow], looks int) (had int) {
	s.given = 0
	began := s.clock()
	for range l.len() {
		f := l.pop()
		f.unset(queued)
		s.turn(f)
		had++
		if s.given >= roundGiven {
			break
		}
		if had%looks == 0 {
			if s.now = s.clock(); s.now-began >= roundTime {
				break
			}
		}
	}
	return had
}

// queued reports whether flows wait for their turns.
func (s *shard) queued() bool { return s.live.len()+s.behind.len() > 0 }

func (s *shard) enqueue(f *flow) {
	if f.has(queued) {
		return
	}
	f.set(queued)
	if f.has(catching) {
		s.behind.push(f)
	} else {
		s.live.push(f)
	}
}

// line is a queue: who came first is served first.
type line[T any] struct {
	all  []T
	gone int // of all, from the beginning
}

func (l *line[T]) len() int { return len(l.all) - l.gone }

func (l *line[T]) push(x T) {
	if len(l.all) == cap(l.all) && l.gone > len(l.all)/2 {
		l.all = slices.Delete(l.all, 0, l.gone) // for less than is had by more memory
		l.gone = 0
	}
	l.all = append(l.all, x)
}

func (l *line[T]) pop() T {
	var none T
	x := l.all[l.gone]
	l.all[l.gone] = none // for the collector
	if l.gone++; l.gone == len(l.all) {
		l.all, l.gone = l.all[:0], 0
	}
	return x
}
