package fanout

import (
	"math"
	"sync/atomic"
	"time"
)

// flow is what the engine keeps of a connection, in its Conn: with its slot both
// have about 200 bytes. All but buffered and fd belongs to the shard's goroutine.
type flow struct {
	conn    *Conn
	session Session
	opts    *Options

	backlog *backlog // nil when all that was given has been written
	ending  *ending  // nil until the session ends it
	job     *job     // nil unless Out.Work runs

	later   *flow  // in its slot of the wheel
	earlier **flow // what points to it there; nil when it is in none
	tick    uint32 // when the wheel looks at it
	alarm   int32  // where it stands among the alarms; noAlarm when it does not

	beat     int64        // when the last sign of life was sent
	jitter   int16        // of the next one, in thousandths of a tenth of Options.Heartbeat
	is       state        // what is to be done
	fd       int32        // written with shard.closing held; -1 when it is closed
	slot     int32        // noSlot when it has none
	life     uint32       // of its slot
	buffered atomic.Int32 // bytes in backlog
	unused   int32        // bytes that asked for no work, when lastReceived was; see drained
}

const (
	noSlot  = -1
	noAlarm = -1
)

// state is a set of what holds of a flow.
type state uint16

const (
	queued   state = 1 << iota // for a turn
	toPull                     // the session wants to be pulled
	blocked                    // a write did not take all; EPOLLOUT says when to go on
	readable                   // there may be something to read
	hungUp                     // the client sends no more than is there to be read
	ended                      // all of that has been read
	shut                       // our own half is closed
	owed                       // a job is done, and no Pull was since
	catching                   // the session has just come, or had more than it gave
	paced                      // the client has sent too much, and is not read from for a while
)

func (f *flow) has(s state) bool { return f.is&s != 0 }
func (f *flow) set(s state)      { f.is |= s }
func (f *flow) unset(s state)    { f.is &^= s }

// backlog is what a session gave and the connection has not taken. It holds at
// most roundBytes and a frame, since nothing is pulled meanwhile, and replyBytes
// and what one Session.Receive gives, since nothing is read beyond that.
type backlog struct {
	frames  [][]byte
	bytes   int
	replies int   // bytes that Session.Receive gave
	since   int64 // when it began
}

// keep appends frames, whose bytes nobody changes any more.
func (f *flow) keep(frames [][]byte, reply bool, now int64) {
	if f.backlog == nil {
		f.backlog = &backlog{since: now}
	}
	b := f.backlog
	for _, frame := range frames {
		b.bytes += len(frame)
		if reply {
			b.replies += len(frame)
		}
	}
	b.frames = append(b.frames, frames...)
	f.buffered.Store(int32(b.bytes))
}

// ending is a flow that its session has ended.
type ending struct {
	End

	until     int64 // when Within, or Linger once it has begun, is over; 0: neither
	lingering bool  // all was written
	began     int64 // when it was
}

// paused reports whether the client is not read from.
func (f *flow) paused() bool {
	return f.job != nil || f.has(paced) || f.has(owed) && f.ending == nil || f.backlog != nil && f.backlog.replies > replyBytes
}

// excuse has the client's silence count from now on only.
func (f *flow) excuse(now int64) {
	ms := (now - f.conn.lastReceived.Load()) / int64(time.Millisecond)
	f.conn.excused = uint32(min(max(ms, 0), math.MaxUint32))
}

// excess returns how many bytes too many have been read, when lastReceived was.
func (f *flow) excess() int32 {
	if f.ending != nil {
		return f.unused - paceBytes
	}
	return f.unused - f.opts.burst()
}

// forever is longer than any connection lasts, and short enough to be counted with.
const forever = 365 * 24 * time.Hour

// later returns a time after another.
func later(t int64, d time.Duration) int64 { return t + int64(min(d, forever)) }

// why a flow's deadline is one.
type why uint8

const (
	nothing why = iota
	stalled
	silent
	lingered
	beat
	resumed
)

// deadline returns when the flow is to be looked at unless something happens,
// and what is to be done then.
func (f *flow) deadline() (at int64, do why) {
	at, do = f.limit()
	if f.has(paced) {
		if next := later(f.conn.lastReceived.Load(), rest(f.excess())); do == nothing || next < at {
			return next, resumed
		}
	}
	return at, do
}

// limit is deadline but for what paced is for.
func (f *flow) limit() (at int64, do why) {
	switch {
	case f.ending != nil && f.ending.lingering:
		return f.ending.until, lingered
	case f.ending != nil && f.ending.until > 0:
		return f.ending.until, stalled
	case f.backlog != nil:
		return later(max(f.backlog.since, f.conn.lastSent.Load()), f.opts.writeTimeout()), stalled
	case f.ending != nil:
		return 0, nothing
	}
	quiet := f.conn.lastSent.Load()
	if f.opts.Silence > 0 {
		received := f.conn.lastReceived.Load() + int64(f.conn.excused)*int64(time.Millisecond)
		quiet = min(quiet, received)
		if !f.paused() {
			at, do = later(received, f.opts.Silence), silent
		}
	}
	if every := min(f.opts.Heartbeat, forever); every > 0 {
		next := later(max(quiet, f.beat), every+every/10*time.Duration(f.jitter)/1000)
		if do == nothing || next < at {
			at, do = next, beat
		}
	}
	return at, do
}
