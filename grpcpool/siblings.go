package grpcpool

import (
	"log/slog"
	"sync"
	"time"
)

// families are the pools of this process by their targets, so that a program
// that makes one for each call is told so.
var families = struct {
	sync.Mutex

	of map[string]*family // at most maxFamilies
}{of: make(map[string]*family)}

const (
	maxFamilies = 1024            // further targets are not watched
	tooManyOpen = 3               // pools at once, of one target
	tooManyMade = 10              // pools within madeWithin, of one target
	madeWithin  = 1 * time.Minute // and as long a family is known without a pool
)

// family is the pools for one target.
type family struct {
	open   int // now
	made   int // since
	since  time.Time
	warned bool
}

// siblings is a pool's place in its family.
type siblings struct {
	target string
	family *family // nil: not watched
	once   sync.Once
}

// enlist counts a new pool, and warns once of a target if it is one too many.
func enlist(target string, logger *slog.Logger) *siblings {
	now := time.Now()
	families.Lock()
	f := families.of[target]
	if f == nil {
		for name, old := range families.of {
			if old.open == 0 && now.Sub(old.since) > madeWithin {
				delete(families.of, name)
			}
		}
		if len(families.of) >= maxFamilies {
			families.Unlock()
			return &siblings{target: target}
		}
		f = &family{since: now}
		families.of[target] = f
	}
	if now.Sub(f.since) > madeWithin {
		f.made, f.since = 0, now
	}
	f.open++
	f.made++
	warn := !f.warned && (f.open >= tooManyOpen || f.made >= tooManyMade)
	f.warned = f.warned || warn
	open, made := f.open, f.made
	families.Unlock()
	if warn {
		logger.Warn("grpcpool: pools are made again and again for one target, and each connects anew: make one when the program starts, share it, close it at the end",
			slog.String("target", target), slog.Int("open", open), slog.Int("made_within_a_minute", made))
	}
	return &siblings{target: target, family: f}
}

// leave takes the pool from its family. It may be called again.
func (s *siblings) leave() {
	if s.family == nil {
		return
	}
	s.once.Do(func() {
		families.Lock()
		defer families.Unlock()
		s.family.open--
	})
}

// others returns how many other pools there are for the target.
func (s *siblings) others() int {
	if s.family == nil {
		return 0
	}
	families.Lock()
	defer families.Unlock()
	return max(0, s.family.open-1)
}
