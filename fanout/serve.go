package fanout

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// readBuffer is how much is read from a stream at once, in bytes.
const readBuffer = 4 << 10

// replyBytes is how much of what a session answers to its client may wait to be
// written; beyond it nothing more is read.
const replyBytes = 64 << 10

// Serve serves one connection until it has been closed, and returns what
// Session.Closed was told. It starts one goroutine, which it joins, where the
// stream can be read. When ctx ends, the client has gone.
func Serve(ctx context.Context, c *Conn, stream Stream, s Session, o *Options) error {
	v := &served{Conn: c, stream: stream, session: s, opts: o, wake: make(chan struct{}, 1), pull: true}
	v.room = sync.NewCond(&v.mu)
	c.begin(&owner{wake: v.woken, depth: v.depth})
	var reading sync.WaitGroup
	if r, ok := stream.(io.Reader); ok {
		reading.Go(func() { v.read(r) })
		v.reads = true
	}
	err := v.write(ctx)
	c.by.Store(nil)
	v.mu.Lock()
	v.over = true
	v.room.Broadcast()
	v.mu.Unlock()
	_ = stream.Close() // why it ended is known
	reading.Wait()
	s.Closed(err)
	return err
}

// served is a connection that Serve serves.
type served struct {
	*Conn

	stream  Stream
	session Session
	opts    *Options
	reads   bool
	wake    chan struct{} // holds a token when the writer is to look

	// mu guards the session's methods, and what follows; it is never held over
	// I/O.
	mu      sync.Mutex
	out     Out
	room    *sync.Cond // of replies
	replies []byte     // given by Receive
	pull    bool       // is wanted
	due     time.Time  // when it is wanted
	end     *End
	working bool
	gone    bool // the client has closed its half
	over    bool // the stream is closed, or about to be
}

// woken is owner.wake.
func (v *served) woken(c *Conn) {
	if c.reset.Load() {
		v.mu.Lock()
		over := v.over
		v.mu.Unlock()
		if !over {
			_ = v.stream.SetWriteDeadline(time.Unix(1, 0)) // a Write that waits
		}
	}
	v.look()
}

func (v *served) look() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *served) depth(*Conn) (buffered, unsent int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.replies), -1
}

// write asks the session and writes until the connection ends.
func (v *served) write(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	beats := newBeats(v.opts)
	var buffer []byte
	for {
		frames, next, end := v.next(beats)
		if len(frames) > 0 {
			deadline := time.Now().Add(v.opts.writeTimeout())
			if end != nil && end.Within > 0 {
				deadline = time.Now().Add(end.Within)
			}
			var err error
			if buffer, err = v.send(frames, buffer[:0], deadline); err != nil {
				return v.why(ctx, err)
			}
		}
		if end != nil {
			return v.finish(ctx, *end, timer)
		}
		if v.Conn.reset.Load() {
			return ErrReset
		}
		if next == 0 {
			continue
		}
		timer.Reset(next)
		select {
		case <-v.wake:
		case <-timer.C:
		case <-ctx.Done():
			return v.why(ctx, ctx.Err())
		}
		if v.silent(time.Now()) {
			return ErrSilent
		}
	}
}

// next returns what to write now, how long to wait after it, 0 for not at all,
// and how to end after it.
func (v *served) next(b *beats) (frames [][]byte, wait time.Duration, end *End) {
	now := time.Now()
	woken := v.Conn.woken.Swap(false)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.out.reset()
	if len(v.replies) > 0 {
		v.out.Share(v.replies)
		v.replies = nil
		v.room.Broadcast()
	}
	if v.gone && v.end == nil {
		v.end = &End{}
		return nil, 0, v.end
	}
	if v.end == nil && (v.pull || woken || !v.due.IsZero() && !now.Before(v.due)) {
		v.pull, v.due = false, time.Time{}
		v.session.Pull(&v.out)
	}
	if v.end == nil && v.out.end == nil && v.out.bytes == 0 && b.due(v.Conn, v.reads, now) {
		v.session.Beat(&v.out)
		b.beat(now)
	}
	v.pull = v.pull || v.out.more
	if !v.out.due.IsZero() {
		v.due = v.out.due
	}
	if v.out.end != nil {
		v.end = v.out.end
	}
	v.out.flushCopied()
	if v.pull {
		return v.out.frames, 0, v.end
	}
	return v.out.frames, v.until(b, now), v.end
}

// until returns how long nothing is to be done unless the session is woken.
func (v *served) until(b *beats, now time.Time) time.Duration {
	wait := b.wait(v.Conn, v.reads, now)
	if !v.due.IsZero() {
		wait = min(wait, v.due.Sub(now))
	}
	if v.reads && v.opts.Silence > 0 {
		wait = min(wait, time.Unix(0, v.Conn.lastReceived.Load()).Add(v.opts.Silence).Sub(now))
	}
	return max(wait, 1)
}

func (v *served) silent(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reads && v.opts.Silence > 0 && !v.working && v.end == nil &&
		now.UnixNano()-v.Conn.lastReceived.Load() >= int64(v.opts.Silence)
}

// send writes frames, small ones together in buffer, which it returns.
func (v *served) send(frames [][]byte, buffer []byte, deadline time.Time) ([]byte, error) {
	if err := v.stream.SetWriteDeadline(deadline); err != nil {
		return buffer, err
	}
	if v.Conn.reset.Load() { // which may have come before the deadline
		return buffer, ErrReset
	}
	p := frames[0]
	if len(frames) > 1 {
		for _, f := range frames {
			buffer = append(buffer, f...)
		}
		p = buffer
	}
	n, err := v.stream.Write(p)
	v.Conn.sent.Add(uint64(n)) //nolint:gosec // not negative
	v.Conn.lastSent.Store(time.Now().UnixNano())
	if cap(buffer) > 2*roundBytes {
		buffer = nil
	}
	return buffer, err
}

// finish closes the connection as the session asked.
func (v *served) finish(ctx context.Context, end End, timer *time.Timer) error {
	v.mu.Lock()
	gone := v.gone
	v.mu.Unlock()
	if gone && end == (End{}) {
		return ErrGone
	}
	if end.HalfClose {
		_ = v.stream.CloseWrite() // the client that does not see it sees Close
	}
	if !v.reads || end.Linger <= 0 {
		return nil
	}
	timer.Reset(end.Linger)
	for {
		v.mu.Lock()
		done, replies := v.gone || v.end.Linger <= 0, v.replies
		v.replies = nil
		v.room.Broadcast()
		v.mu.Unlock()
		if len(replies) > 0 && !end.HalfClose {
			if _, err := v.send([][]byte{replies}, nil, time.Now().Add(end.Linger)); err != nil {
				return v.why(ctx, err)
			}
		}
		if done {
			return nil
		}
		select {
		case <-v.wake:
			if v.Conn.reset.Load() {
				return ErrReset
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// why returns the error of a connection that failed by err.
func (v *served) why(ctx context.Context, err error) error {
	switch {
	case v.Conn.reset.Load():
		return ErrReset
	case ctx.Err() != nil, !errors.Is(err, os.ErrDeadlineExceeded):
		return ErrGone
	}
	return ErrStalled
}

// read gives the session what the client sends.
func (v *served) read(r io.Reader) {
	p := make([]byte, readBuffer)
	for {
		n, err := r.Read(p)
		if n > 0 {
			v.Conn.received.Add(uint64(n)) //nolint:gosec // not negative
			v.Conn.lastReceived.Store(time.Now().UnixNano())
			if !v.receive(p[:n]) {
				return
			}
		}
		if err != nil {
			v.mu.Lock()
			v.gone = true
			v.mu.Unlock()
			v.look()
			return
		}
	}
}

// receive reports whether there is to be read on.
func (v *served) receive(p []byte) bool {
	var out Out
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.replies) > replyBytes && !v.over {
		v.room.Wait()
	}
	if v.over {
		return false
	}
	v.session.Receive(&out, p)
	out.flushCopied()
	for _, f := range out.frames {
		v.replies = append(v.replies, f...)
	}
	if out.end != nil {
		v.end = out.end
	}
	v.pull = v.pull || out.more
	if out.work != nil {
		v.working = true
		v.mu.Unlock()
		out.work()
		v.mu.Lock()
		v.working, v.pull = false, true
		v.Conn.lastReceived.Store(time.Now().UnixNano())
	}
	v.look()
	return true
}

// beats says when a sign of life is due.
type beats struct {
	every time.Duration
	last  time.Time
	next  time.Duration // after the last sign of life; every, give or take a tenth
}

func newBeats(o *Options) *beats {
	b := &beats{every: o.Heartbeat}
	b.draw()
	return b
}

func (b *beats) draw() {
	tenth := b.every / 10
	b.next = b.every - tenth
	if tenth > 0 {
		b.next += rand.N(2*tenth + 1) //nolint:gosec // only to spread them
	}
}

// wait returns how long it is until the next is due.
func (b *beats) wait(c *Conn, reads bool, now time.Time) time.Duration {
	if b.every <= 0 {
		return time.Hour
	}
	quiet := c.lastSent.Load()
	if reads {
		quiet = min(quiet, c.lastReceived.Load())
	}
	since := time.Unix(0, quiet)
	if since.Before(b.last) {
		since = b.last
	}
	return since.Add(b.next).Sub(now)
}

func (b *beats) due(c *Conn, reads bool, now time.Time) bool {
	return b.every > 0 && b.wait(c, reads, now) <= 0
}

func (b *beats) beat(now time.Time) {
	b.last = now
	b.draw()
}
