package capture

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// phase is how far a call has come.
type phase uint8

const (
	pending phase = iota // the upstream has not answered
	live                 // its response is being recorded
	ended                // completely
	faulted              // the upstream broke or was cut off
	passed               // there was no response to record
)

func (p phase) String() string {
	return [...]string{"pending", "live", "ended", "fault", "passed"}[p]
}

// stream is one call to the upstream and, once its response is recorded, the
// log of it.
type stream struct {
	store *Store
	cfg   *Config
	base  string       // the upstream's id that the request resumed after
	leave OnDisconnect // never Default
	begun time.Time

	// Set by name, as are ready and bodies.
	id     string
	hash   streamHash
	owner  owner
	target [sha256.Size]byte // method and URL

	keyed bool // has an Idempotency-Key and can be attached to by it
	key   keyHash
	body  [sha256.Size]byte // of the request

	request  *keptBody // of the request, until the call begins
	bodyKept bool

	ctx    context.Context // of the upstream call; its cause tells why it was cut off
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed when the phase is no longer pending

	// Set before ready is closed.
	form    form
	status  int
	header  http.Header // as its readers get it
	trailer http.Header // announced names
	log     *topic.Log
	life    uint64

	place *list.Element // in Store.finished; guarded by Store.mu

	mu        sync.Mutex
	phase     phase
	over      time.Time
	fault     *fairlead.Error
	readers   int
	bodies    map[*body]struct{}
	timer     *time.Timer // of the linger; nil when it does not run
	size      int64       // charged to the store
	released  bool        // no longer charged
	lastEvent uint64      // number of the last event with data
	length    int64       // of a body of bytes, so far
	// A store of one, since only a store changes the policy of its logs; nil
	// when the log does not grow any more.
	logs     *topic.Store
	tail     []byte // of a clean end inside an event
	trailers http.Header

	claimed bool           // somebody begins the response
	caller  bool           // RoundTrip waits for what follows
	plain   *http.Response // phase passed
	failure error          // phase passed
}

func (st *Store) newStream(cfg *Config, leave OnDisconnect) *stream {
	return &stream{store: st, cfg: cfg, leave: leave, begun: time.Now(), readers: 1, caller: true}
}

// name gives the stream what it is known by to others than its caller.
func (s *stream) name(req *http.Request) {
	s.id = s.store.life + randomText(idLen-lifeLen)
	s.hash = sha256.Sum256([]byte(s.id))
	s.owner, s.target = ownerOf(s.cfg.Owner, req), targetOf(req)
	s.ready, s.bodies = make(chan struct{}), make(map[*body]struct{})
}

// short is what logs and admin pages may call the stream.
func (s *stream) short() string { return hex.EncodeToString(s.hash[:4]) }

func (s *stream) endedAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *stream) now() (p phase, lastEvent uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase, s.lastEvent
}

// enter counts a reader, which keeps the upstream call.
func (s *stream) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers++
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// exit is the leaving of a reader. The last one decides over the call.
func (s *stream) exit() {
	s.mu.Lock()
	s.readers--
	decide := s.readers == 0 && (s.phase == pending || s.phase == live)
	lingers := s.leave > 0 && !s.store.last.Load()
	if decide && lingers {
		s.timer = time.AfterFunc(time.Duration(s.leave), s.lingered)
	}
	s.mu.Unlock()
	if decide && !lingers && s.leave != Continue {
		s.stop(fairlead.Errorf(fairlead.Cancelled, "its last reader went away"))
	}
}

// lingered is called when nobody has come back in time.
func (s *stream) lingered() {
	s.mu.Lock()
	alone := s.readers == 0
	s.mu.Unlock()
	if alone {
		s.stop(fairlead.Errorf(fairlead.Cancelled, "its last reader went away and did not come back in time"))
	}
}

// stop cuts the upstream call off.
func (s *stream) stop(why *fairlead.Error) {
	s.cancel(why)
	s.finish(why)
}

// cut is stop on somebody's request: bodies end at once, even those that have
// more to read.
func (s *stream) cut() {
	if p, _ := s.now(); p != pending && p != live {
		return
	}
	why := fairlead.Errorf(fairlead.Cancelled, "the stream was cancelled")
	s.stop(why)
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.bodies {
		b.cancel(why)
	}
}

// finish ends a live stream, in a fault unless that is nil.
func (s *stream) finish(fault *fairlead.Error) {
	s.mu.Lock()
	if s.phase != live {
		s.mu.Unlock()
		return
	}
	s.phase, s.fault, s.over = ended, fault, time.Now()
	if fault != nil {
		s.phase, s.tail = faulted, nil
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.logs = nil
	s.mu.Unlock()
	if fault == nil {
		s.log.Close()
	} else {
		s.log.Fault(fault)
	}
	s.store.count.finished(fault)
	s.cancel(nil)
	s.store.retire(s)
}

// policy is that of the stream's log.
func (s *stream) policy(bytes int64) topic.Policy {
	return topic.Policy{
		Bytes: bytes, Patience: s.store.cfg.Patience,
		Events: math.MaxInt32, Age: 10 * 365 * 24 * time.Hour, // only bytes bound it while it lives
	}
}

// openLog gives the stream its log.
func (s *stream) openLog() {
	s.logs = topic.NewStore(topic.StoreConfig{MaxTopics: 1, Policy: func(string) topic.Policy { return s.policy(s.store.cfg.StreamBytes) }})
	log, err := s.logs.Open("stream")
	if err != nil {
		panic(err) // an empty store takes a good name
	}
	s.log = log
	s.life, _, _ = log.Bounds().Latest.Parse() // a log's own cursors parse
}

// streamOverhead is what a stream costs beside its log, in bytes: its header,
// its names and its place in the store.
const streamOverhead = 4 << 10

// charge accounts n more bytes in the log to the store, and the first time the
// overhead. The log may evict as many, so what is charged for it is never more
// than its bound.
func (s *stream) charge(n int64) {
	s.mu.Lock()
	switch {
	case s.released:
		n = 0
	case s.size == 0:
		n = streamOverhead + min(n, s.store.cfg.StreamBytes)
	default:
		n = min(n, streamOverhead+s.store.cfg.StreamBytes-s.size)
	}
	s.size += n
	s.mu.Unlock()
	if s.store.bytes.Add(n) > s.store.cfg.TotalBytes {
		s.store.relieve()
	}
}

func (s *stream) charged() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// release ends the charge and returns what it was.
func (s *stream) release() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.size
	s.size, s.released = 0, true
	return n
}

// trim lets the log lose its oldest part, down to about bytes, and returns how
// much is charged less. s.mu is held throughout, so that an append that meets
// the lower bound can wait for it to be over.
func (s *stream) trim(bytes int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released || s.logs == nil {
		return 0
	}
	before := s.size
	s.logs.Reload(func(string) topic.Policy { return s.policy(max(bytes, 1)) })
	s.size = min(streamOverhead+s.log.Stats().Bytes, s.size)
	s.logs.Reload(func(string) topic.Policy { return s.policy(s.store.cfg.StreamBytes) })
	return before - s.size
}

// cursor returns the position after event seq, as clients see it.
func (s *stream) cursor(seq uint64) string {
	return string(appendCursor(make([]byte, 0, maxCursor), s.id, seq))
}

// at returns the log's cursor of the position after event seq.
func (s *stream) at(seq uint64) fairlead.Cursor { return fairlead.NewCursor(s.life, seq) }

// bounds returns the numbers of the oldest retained event and of the newest.
func (s *stream) bounds() (earliest, latest uint64) {
	b := s.log.Bounds()
	return number(b.Earliest), number(b.Latest)
}

// record returns event seq if it is retained.
func (s *stream) record(seq uint64) *topic.Record {
	r := topic.NewReader()
	defer r.Close()
	var items [1]topic.Item
	if seq == 0 || r.Add(s.log, s.at(seq-1)) != nil || r.Poll(items[:]) == 0 || items[0].Kind != topic.KindEvent {
		return nil
	}
	return items[0].Record
}
