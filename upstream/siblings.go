package upstream

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// families are the open pools of this process by what they connect to: a
// program that makes one for each request never uses a connection again, and
// is told so once. Bounded by the pools that are open.
var families = struct {
	sync.Mutex

	of map[string]*family
}{of: make(map[string]*family)}

// family is the pools for the same endpoints.
type family struct {
	key  string
	open int    // now
	more uint64 // that were made while there was another
}

// siblings is a pool's place in its family.
type siblings struct {
	family *family
	once   sync.Once
}

// enlist counts a new pool, and warns if it is the first that is one too many.
func enlist(cfg *Config) *siblings {
	key := strings.Join(slices.Sorted(slices.Values(cfg.Endpoints)), " ")
	families.Lock()
	f := families.of[key]
	if f == nil {
		f = &family{key: key}
		families.of[key] = f
	}
	first := f.open > 0 && !cfg.Replaces && f.more == 0 && key != ""
	if f.open > 0 && !cfg.Replaces {
		f.more++
	}
	f.open++
	families.Unlock()
	if first {
		cfg.Logger.Warn("upstream: there is a pool for these endpoints already; share one instead of making one for each request, or no connection is used again",
			slog.String("endpoints", key))
	}
	return &siblings{family: f}
}

// leave takes the pool from its family. It may be called again.
func (s *siblings) leave() {
	s.once.Do(func() {
		families.Lock()
		defer families.Unlock()
		if s.family.open--; s.family.open == 0 && families.of[s.family.key] == s.family {
			delete(families.of, s.family.key)
		}
	})
}

// further returns how many pools were made beside another.
func (s *siblings) further() uint64 {
	families.Lock()
	defer families.Unlock()
	return s.family.more
}
