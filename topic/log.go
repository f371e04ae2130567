package topic

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

type state uint8

const (
	open state = iota
	ended
	faulted
)

// Log is a topic: a bounded append-only sequence of events with one life. It
// is safe for concurrent use.
type Log struct {
	name string
	life uint64

	mu       sync.Mutex
	policy   *Policy
	records  []*Record // retained events are records[head:], oldest first
	head     int
	next     uint64 // number of the next event; the first is 1
	size     int64  // sum of the retained records' sizes
	lost     uint64 // highest evicted number that no policy would have skipped
	critical uint64 // highest number of a critical event
	lastUse  int64  // last append or departure of a reader, Unix nanoseconds
	state    state
	removed  bool
	fault    *fairlead.Error
	extra    *extra // what only some topics need

	subsMu sync.Mutex
	subs   []*sub

	// The store's queue of logs to look at; guarded by Store.mu.
	queue        *idleQueue
	older, newer *Log
	due          int64
}

// extra holds what an idle topic of the default policy does without.
type extra struct {
	keys     map[string]*Record // latest record of each key, under LatestPerKey
	keyed    []*idempotent      // appends with an idempotency key, oldest first
	byKey    map[string]*idempotent
	consumed uint64        // highest number the reader of a Wait topic consumed
	room     chan struct{} // closed when waiting appends should look again
	cold     uint64        // highest number of an event that keeps no wire formats
	coldSize int64         // sum of the sizes of those that are retained
	skipped  uint64        // events passed over by policy, all readers
	gaps     uint64        // gaps told to readers
}

type idempotent struct {
	key         string
	fingerprint [32]byte
	result      Result
	last        uint64
}

// New returns an empty log of a new life, outside any store. The name is only
// repeated in its events.
func New(name string, policy Policy) *Log {
	return newLog(name, policy.withDefaults())
}

func newLog(name string, policy *Policy) *Log {
	return &Log{name: name, life: newLife(), policy: policy, next: 1, lastUse: time.Now().UnixNano()}
}

var lastLife atomic.Uint64

// newLife returns a number that no log of this process had, later ones being
// greater, and that no log of another process has, short of an accident: the
// microseconds of the clock and twelve random bits.
func newLife() uint64 {
	var b [2]byte
	rand.Read(b[:]) // never fails
	life := uint64(time.Now().UnixMicro())<<12 | uint64(binary.BigEndian.Uint16(b[:])&0xfff)
	for {
		last := lastLife.Load()
		if life <= last {
			life = last + 1
		}
		if lastLife.CompareAndSwap(last, life) {
			return life
		}
	}
}

// Name returns the topic's name.
func (l *Log) Name() string { return l.name }

// first is the number of the oldest retained event, or next.
func (l *Log) first() uint64 { return l.next - uint64(len(l.records)-l.head) }

func (l *Log) at(seq uint64) *Record { return l.records[l.head+int(seq-l.first())] }

func (l *Log) cursor(seq uint64) fairlead.Cursor { return fairlead.NewCursor(l.life, seq) }

func (l *Log) more() *extra {
	if l.extra == nil {
		l.extra = &extra{}
	}
	return l.extra
}

// Bounds says what a log holds.
type Bounds struct {
	// Earliest is the cursor of the oldest retained event; equal to Latest
	// when none is retained.
	Earliest fairlead.Cursor
	// Latest is the cursor of the newest event: reading after it yields only
	// what is appended from now on.
	Latest fairlead.Cursor
	// Closed is set when nothing will be appended: after an end or a fault.
	Closed bool
}

// Bounds returns the cursors of what the log retains now.
func (l *Log) Bounds() Bounds {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(time.Now().UnixNano())
	return Bounds{Earliest: l.cursor(min(l.first(), l.next-1)), Latest: l.cursor(l.next - 1), Closed: l.state != open}
}

// Stats describes a log to its operator.
type Stats struct {
	Name    string          // of the topic
	Latest  fairlead.Cursor // newest event
	Policy  string          // delivery policy
	Events  int             // retained
	Bytes   int64           // retained
	Total   uint64          // appended in this life
	Readers int             // connected
	Skipped uint64          // passed over by policy, all readers
	Gaps    uint64          // told to readers
	Closed  bool            // ended or faulted
	Fault   string          // code of the fault, if faulted
}

// Stats returns the state of the log.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Name: l.name, Latest: l.cursor(l.next - 1), Policy: l.policy.String(),
		Events: len(l.records) - l.head, Bytes: l.size, Total: l.next - 1,
		Readers: l.readers(), Closed: l.state != open,
	}
	if l.extra != nil {
		s.Skipped, s.Gaps = l.extra.skipped, l.extra.gaps
	}
	if l.fault != nil {
		s.Fault = string(l.fault.Code)
	}
	return s
}

func (l *Log) readers() int {
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	return len(l.subs)
}

// Close ends the log: its readers get the end after the last event, later
// appends are refused. Closing again changes nothing.
func (l *Log) Close() { l.finish(ended, nil) }

// Fault ends the log because its source broke; readers get the fault, which
// never looks like an end. A log that has ended stays as it is.
func (l *Log) Fault(err *fairlead.Error) { l.finish(faulted, err) }

func (l *Log) finish(to state, fault *fairlead.Error) {
	l.mu.Lock()
	if l.state != open {
		l.mu.Unlock()
		return
	}
	l.state, l.fault = to, fault
	l.lastUse = time.Now().UnixNano()
	l.wakeAppends()
	l.mu.Unlock()
	l.notify()
}

// notify puts the log on the ready list of each of its readers.
func (l *Log) notify() {
	l.subsMu.Lock()
	defer l.subsMu.Unlock()
	for _, s := range l.subs {
		s.reader.push(s)
	}
}

// wakeAppends lets waiting appends look again. l.mu is held.
func (l *Log) wakeAppends() {
	if l.extra != nil && l.extra.room != nil {
		close(l.extra.room)
		l.extra.room = nil
	}
}

// awaitRoom waits until wakeAppends, the timer or ctx; l.mu is held before and
// after, and released meanwhile.
func (l *Log) awaitRoom(ctx context.Context, timer <-chan time.Time) (timedOut bool, err error) {
	x := l.more()
	if x.room == nil {
		x.room = make(chan struct{})
	}
	room := x.room
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-room:
		return false, nil
	case <-timer:
		return true, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// held returns the lowest number that is still owed to a reader and must be
// waited for; the greatest number there is when there is none. l.mu is held.
func (l *Log) held() uint64 {
	if !l.policy.holds() {
		return math.MaxUint64
	}
	low := uint64(math.MaxUint64)
	l.subsMu.Lock()
	for _, s := range l.subs {
		if !s.done {
			low = min(low, s.acked+1)
		}
	}
	l.subsMu.Unlock()
	if l.policy.Deliver == Wait && low == math.MaxUint64 {
		low = l.more().consumed + 1
	}
	return low
}
