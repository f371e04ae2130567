package capture

import (
	"container/list"
	"context"
	"crypto/sha256"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// streamHash is the hash of a stream's id, by which it is found.
type streamHash [sha256.Size]byte

// Store holds captured streams. It serves them below [Prefix] as an
// [http.Handler], and is safe for concurrent use. Create it with [NewStore] and
// end it with Close.
type Store struct {
	cfg   StoreConfig
	life  string // begins the ids of its streams
	bytes atomic.Int64
	count counters
	wg    sync.WaitGroup // the calls
	last  atomic.Bool    // nobody can come back: see StopLingering
	// origins are whose pages may use the streams' URLs; nil: none but their own.
	origins atomic.Pointer[[]string]

	mu       sync.Mutex
	closed   bool
	calls    map[call]struct{} // that go on
	idle     chan struct{}     // closed when there are none; nil when nobody waits
	streams  map[streamHash]*stream
	keys     map[keyHash][]*stream // by Idempotency-Key
	finished list.List             // *stream, in the order of their ends
	tombs    tombs
	owners   [][]Identity        // the different lists of the routes
	peers    []http.RoundTripper // replaced, never changed
}

// NewStore returns an empty store.
func NewStore(cfg StoreConfig) *Store {
	return &Store{
		cfg: cfg.withDefaults(), life: randomText(lifeLen),
		calls: make(map[call]struct{}), streams: make(map[streamHash]*stream), keys: make(map[keyHash][]*stream),
		owners: [][]Identity{nil},
	}
}

// Transport returns the round tripper of a route: it answers attaches and
// reconnects from the store, sends everything else through next, and captures
// what cfg says. Its RoundTrip returns a *[fairlead.Error] of code Cancelled in
// its error's chain when the call was stopped before its response began.
func (st *Store) Transport(cfg Config, next http.RoundTripper) http.RoundTripper {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !slices.ContainsFunc(st.owners, func(o []Identity) bool { return slices.Equal(o, cfg.Owner) }) {
		st.owners = append(st.owners, slices.Clone(cfg.Owner))
	}
	return &transport{store: st, cfg: cfg.withDefaults(), next: next}
}

// call is one to an upstream: a [stream], or [tied] before there is one.
type call interface{ stop(why *fairlead.Error) }

// begin counts a call, until over; false: the store is closed or full.
func (st *Store) begin(c call) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || len(st.calls) >= st.cfg.Streams {
		return false
	}
	st.calls[c] = struct{}{}
	st.wg.Add(1)
	return true
}

// become counts a call as that of a stream from now on.
func (st *Store) become(c call, s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.calls, c)
	st.calls[s] = struct{}{}
}

// over notes that a call is at its end.
func (st *Store) over(c call) {
	defer st.wg.Done()
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.calls, c)
	if len(st.calls) == 0 && st.idle != nil {
		close(st.idle)
		st.idle = nil
	}
}

// register makes the stream reachable by its id. There is room: those that are
// live are not more than the calls.
func (st *Store) register(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.sweep(time.Now())
	for oldest := st.finished.Front(); oldest != nil && len(st.streams) >= st.cfg.Streams; oldest = st.finished.Front() {
		st.evict(oldest.Value.(*stream))
	}
	st.streams[s.hash] = s
}

// retire puts a stream that has ended in the queue to be evicted.
func (st *Store) retire(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.streams[s.hash] == s {
		s.place = st.finished.PushBack(s)
	}
	st.sweep(time.Now())
}

// sweep evicts what was kept long enough. st.mu is held.
func (st *Store) sweep(now time.Time) {
	for e := st.finished.Front(); e != nil; e = st.finished.Front() {
		s := e.Value.(*stream)
		if now.Sub(s.endedAt()) < st.cfg.Keep {
			return
		}
		st.evict(s)
	}
}

// Sweep evicts the streams that were kept long enough after their end. Every
// use of the store does so too; call it now and then for when there is none.
func (st *Store) Sweep() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.sweep(time.Now())
}

// evict forgets a finished stream but for its tombstone. st.mu is held. Those
// who read it go on.
func (st *Store) evict(s *stream) {
	st.finished.Remove(s.place)
	delete(st.streams, s.hash)
	st.unkey(s)
	st.tombs.add(s.hash, s.owner)
	st.bytes.Add(-s.release())
	st.count.evicted.Add(1)
}

// unkey makes the stream unreachable by its Idempotency-Key. st.mu is held.
func (st *Store) unkey(s *stream) {
	if !s.keyed {
		return
	}
	rest := slices.DeleteFunc(st.keys[s.key], func(other *stream) bool { return other == s })
	if len(rest) == 0 {
		delete(st.keys, s.key)
		return
	}
	st.keys[s.key] = rest
}

func (st *Store) forgetKey(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unkey(s)
}

// relieve brings the store under its bound in total.
func (st *Store) relieve() {
	for st.bytes.Load() > st.cfg.TotalBytes {
		st.mu.Lock()
		if oldest := st.finished.Front(); oldest != nil {
			st.evict(oldest.Value.(*stream))
			st.mu.Unlock()
			continue
		}
		var largest *stream
		var most int64
		for _, s := range st.streams {
			if n := s.charged(); n > most {
				largest, most = s, n
			}
		}
		st.mu.Unlock()
		if largest == nil {
			return
		}
		freed := largest.trim(most / 2)
		if freed <= 0 {
			return // its last event was appended meanwhile, and its owner relieves next
		}
		st.bytes.Add(-freed)
	}
}

// found is what the store knows of an id.
type found uint8

const (
	foundNothing found = iota // never was, or is not the caller's
	foundStream
	foundEvicted // was the caller's, or of another life
)

// find looks an id up for a caller; owns tells whether the caller is the owner
// of something whose owner is not nobody.
func (st *Store) find(id string, owns func(*stream, owner) bool) (*stream, found) {
	if lifeOf(id) != st.life {
		return nil, foundEvicted
	}
	h := streamHash(sha256.Sum256([]byte(id)))
	st.mu.Lock()
	st.sweep(time.Now())
	s := st.streams[h]
	o, buried := st.tombs.get(h)
	st.mu.Unlock()
	switch {
	case s != nil && (s.owner.nobody() || owns(s, s.owner)):
		return s, foundStream
	case s == nil && buried && (o.nobody() || owns(nil, o)):
		return nil, foundEvicted
	}
	return nil, foundNothing
}

// ownerLists returns the different lists of identities of the routes.
func (st *Store) ownerLists() [][]Identity {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clip(st.owners)
}

// StopLingering is for a server to which nobody can come back, because it has
// closed its listener: calls that linger without a reader are cancelled, and
// so is from now on each whose last reader leaves. Those with [Continue] go on.
func (st *Store) StopLingering() {
	st.last.Store(true)
	st.mu.Lock()
	calls := make([]*stream, 0, len(st.calls))
	for c := range st.calls {
		if s, ok := c.(*stream); ok { // others have a reader
			calls = append(calls, s)
		}
	}
	st.mu.Unlock()
	for _, s := range calls {
		if s.leave != Continue {
			s.lingered()
		}
	}
}

// Drain waits until the calls to the upstreams are over. When ctx ends first it
// makes those that are left faults, and returns ctx's error.
func (st *Store) Drain(ctx context.Context) error {
	st.mu.Lock()
	if len(st.calls) == 0 {
		st.mu.Unlock()
		return nil
	}
	if st.idle == nil {
		st.idle = make(chan struct{})
	}
	idle := st.idle
	st.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		st.stopAll()
		return ctx.Err()
	}
}

// stopAll makes every live stream a fault.
func (st *Store) stopAll() {
	st.mu.Lock()
	left := slices.Collect(maps.Keys(st.calls))
	st.mu.Unlock()
	for _, c := range left {
		c.stop(fairlead.Errorf(fairlead.Draining, "the server went away before the upstream had finished"))
	}
}

// Close makes every live stream a fault, captures nothing more, and returns
// when the goroutines of the store have ended. What was captured stays
// readable.
func (st *Store) Close() {
	st.mu.Lock()
	st.closed = true
	st.mu.Unlock()
	st.stopAll()
	st.wg.Wait()
}
