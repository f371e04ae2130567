package websocket

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// leg is one side of a relay.
type leg struct {
	name     string
	rwc      io.ReadWriteCloser
	side     Side // which we are on it
	flow     *RelayFlow
	interval time.Duration // of silence before a ping
	patience time.Duration // with a leg that sends or takes nothing
	hurry    time.Duration // with a leg that does not take our control frames

	// Of the goroutine that reads the leg.
	br       *bufio.Reader
	rules    rules
	unread   int64 // payload of the current frame that is still in the stream
	deflated bool  // the current message is
	scratch  [ws.MaxControlFramePayloadSize]byte

	// waiting is since when a read of the stream waits, in Unix nanoseconds; 0
	// while none does, which is when the other leg is slow.
	waiting atomic.Int64

	// Of the goroutine that pings.
	token    [8]byte // the payload of our pings, so that their pongs are known
	lastPing time.Time
	nextPing time.Duration // after silence began or lastPing

	torn bool // of the goroutine that passes data on to the leg: half a frame is out

	writing chan struct{} // a lock made of a channel: it is held over I/O
	deaf    bool          // guarded by writing: nothing more can be sent
	guard   *time.Timer   // guarded by writing: fails the leg when a write takes too long
	asked   atomic.Bool   // a close frame was sent or will be
	pending atomic.Pointer[[]byte]
	failure atomic.Pointer[error] // why we closed the stream ourselves
	closing sync.Once
}

func newLeg(name string, rwc io.ReadWriteCloser, side Side, flow *RelayFlow, cfg RelayConfig) *leg {
	l := &leg{
		name: name, rwc: rwc, side: side, flow: flow,
		interval: cfg.PingInterval,
		patience: time.Duration(cfg.MaxMissed) * cfg.PingInterval,
		hurry:    cfg.CloseTimeout,
		rules:    rules{from: side.peer(), anyRSV: true},
		writing:  make(chan struct{}, 1),
	}
	l.br = bufio.NewReaderSize(l, readBuffer)
	_, _ = rand.Read(l.token[:]) // never fails
	l.nextPing = l.jitter()
	l.guard = time.AfterFunc(l.patience, func() { l.fail(errStalls) })
	l.guard.Stop()
	return l
}

// Read reads the stream for br and keeps watch of how long it takes.
func (l *leg) Read(p []byte) (int, error) {
	l.waiting.Store(time.Now().UnixNano())
	n, err := l.rwc.Read(p)
	l.waiting.Store(0)
	if why := l.failure.Load(); err != nil && why != nil {
		err = *why
	}
	return n, err
}

func (l *leg) close() {
	l.closing.Do(func() {
		// What a stream says on its way out changes nothing for the other side.
		_ = l.rwc.Close()
	})
}

// fail closes the stream; why becomes the error of its Read.
func (l *leg) fail(why error) {
	l.failure.CompareAndSwap(nil, &why)
	l.close()
}

// goneFor is what the other side is told when this one is gone.
func (l *leg) goneFor() []byte {
	if l.side == Server {
		return closePayload(GoingAway, "the client is gone")
	}
	return closePayload(BadGateway, "the upstream is gone")
}

func (l *leg) jitter() time.Duration {
	return l.interval*9/10 + mathrand.N(l.interval/5+1) //nolint:gosec // spreads load, guards nothing
}

func (l *leg) ownPong(p []byte) bool { return bytes.Equal(p, l.token[:]) }

// tend pings the leg when it has been silent for an interval, gives it up when
// it has been for too long, and returns when to look again.
func (l *leg) tend(now time.Time) time.Duration {
	waiting := l.waiting.Load()
	if waiting == 0 {
		return l.nextPing // it is not being read, so its silence is ours
	}
	since := time.Unix(0, waiting)
	if silent := now.Sub(since); silent >= l.patience {
		l.fail(fmt.Errorf("%w: %v", errSilent, silent.Round(time.Second)))
		return l.interval
	}
	if l.lastPing.After(since) {
		since = l.lastPing
	}
	if due := since.Add(l.nextPing); due.After(now) {
		return min(due.Sub(now), l.interval)
	}
	l.lastPing, l.nextPing = now, l.jitter()
	select {
	case l.writing <- struct{}{}:
		f := newFrame()
		f.frame(l.side, ws.OpPing, 0, l.token[:])
		l.put(f.b, l.hurry)
		f.release()
		l.unlock()
	default: // a frame is on its way: the leg is not idle
	}
	return l.nextPing
}

// askClose sends a close frame, once, as soon as the frame in progress is out.
func (l *leg) askClose(payload []byte) {
	l.planClose(payload)
	l.flush()
}

// planClose settles what the close frame says, if nothing did yet, and leaves the
// sending to flush.
func (l *leg) planClose(payload []byte) {
	if l.asked.Swap(true) {
		return
	}
	var f frame
	f.frame(l.side, ws.OpClose, 0, payload)
	l.pending.Store(&f.b)
}

// flush sends the pending close frame unless a writer is busy, who will.
func (l *leg) flush() {
	for l.pending.Load() != nil {
		select {
		case l.writing <- struct{}{}:
			if f := l.pending.Swap(nil); f != nil {
				l.put(*f, l.hurry)
				l.deaf = true
			}
			<-l.writing
		default:
			return
		}
	}
}

func (l *leg) lock() { l.writing <- struct{}{} }

func (l *leg) unlock() {
	<-l.writing
	l.flush()
}

// put writes bytes to the stream, whose lock the caller holds, and closes the
// stream when they are not taken in time. After a close frame or a failure,
// which the leg's reader meets by itself, they are dropped.
func (l *leg) put(p []byte, within time.Duration) {
	if l.deaf {
		return
	}
	l.guard.Reset(within)
	_, err := l.rwc.Write(p)
	l.guard.Stop()
	if err != nil {
		l.deaf = true
		l.fail(err)
	}
}
