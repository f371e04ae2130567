package fanout

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// readBuffer is how much is read from a stream at once, in bytes.
	readBuffer = 4 << 10
	// replyBytes is how much of what a session answers to its client may wait to
	// be written; beyond it nothing more is read.
	replyBytes = 64 << 10
	// keepFrames is how many frames an idle connection keeps room for.
	keepFrames = 16
)

// Serve serves one connection until it has been closed, and returns what
// Session.Closed was told. It starts one goroutine, which it joins, where the
// stream can be read; what that runs for Out.Work it waits for, after Closed. When
// ctx ends, the client has gone. When a method of the session panics, Closed is
// told so.
func Serve(ctx context.Context, c *Conn, stream Stream, s Session, o *Options) error {
	if o == nil {
		o = new(Options)
	}
	now := time.Now()
	v := &served{
		out:  writer{conn: c, stream: stream, timeout: o.writeTimeout(), sent: now},
		conn: c, session: s, opts: o, wake: make(chan struct{}, 1), closed: make(chan struct{}), heard: now, pull: true,
	}
	v.room.L = &v.mu
	v.draw()
	c.begin(&owner{wake: v.woken, depth: v.depth})
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		v.out.interrupt()
		v.look()
	})
	var reading sync.WaitGroup
	if r, ok := stream.(io.Reader); ok {
		v.reads = true
		reading.Go(func() { v.read(r) })
	}
	err := v.write(ctx)
	c.by.Store(nil)
	if !stop() {
		<-told
	}
	v.mu.Lock()
	v.over = true
	if v.gone && v.broken != nil {
		err = v.broken
	}
	v.room.Broadcast()
	v.mu.Unlock()
	close(v.closed)
	v.out.close()
	s.Closed(err) // first, for what Out.Work runs may wait for it
	reading.Wait()
	return err
}

// served is a connection that Serve serves.
type served struct {
	conn    *Conn
	session Session
	opts    *Options
	reads   bool
	wake    chan struct{} // holds a token when the writer is to look

	// The writing goroutine's own.
	out      writer
	closed   chan struct{} // when the connection is
	given    Out           // by the session
	beaten   time.Time     // when the last sign of life was given
	interval time.Duration // until the next; Options.Heartbeat, give or take a tenth

	broken error // of the session, which panicked; the reader's until gone is set

	// mu guards the session's methods, and what follows; it is never held over
	// I/O. Methods of Conn, which a session calls, must not take it.
	mu      sync.Mutex
	room    sync.Cond // what the reader waits for: room in replies, a Pull, or the end
	replies []byte    // given by Receive
	heard   time.Time // when something was received, or reading went on
	pull    bool      // is wanted
	due     time.Time // when it is wanted
	end     *End
	paused  bool // nothing is read at present
	worked  bool // what Out.Work ran has returned, and no Pull was since
	gone    bool // nothing more comes from the client
	over    bool // the stream is closed, or about to be
}

// woken is owner.wake.
func (v *served) woken(c *Conn) {
	if c.reset.Load() {
		v.out.interrupt()
	}
	v.look()
}

// look has the writer look what there is to do.
func (v *served) look() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// depth is owner.depth.
func (v *served) depth(*Conn) (buffered, unsent int) { return int(v.out.buffered.Load()), -1 }

// caught makes an error of a panic, since those of one session are not to end
// all the others.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{p, debug.Stack()}
	}
}

// write asks the session and writes until the connection ends.
func (v *served) write(ctx context.Context) (err error) {
	defer caught(&err)
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		if err := v.lost(ctx); err != nil {
			return err
		}
		end, gone := v.next()
		began := time.Now()
		if err := v.out.send(ctx, v.given.frames); err != nil {
			return err
		}
		v.excuse(began)
		switch {
		case end:
			return v.finish(ctx, timer)
		case gone:
			return ErrGone
		}
		wait := v.wait()
		if wait == 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-v.wake:
		case <-timer.C:
		}
	}
}

// lost returns why nothing is to be written any more, or nil.
func (v *served) lost(ctx context.Context) error {
	switch {
	case v.conn.reset.Load():
		return ErrReset
	case ctx.Err() != nil:
		return ErrGone
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.end == nil && v.listens() && time.Since(v.heard) >= v.opts.Silence {
		return ErrSilent
	}
	return nil
}

// excuse takes the time since began, when the client could not be asked for a sign
// of life, off its silence.
func (v *served) excuse(began time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.heard.After(began) {
		began = v.heard
	}
	v.heard = v.heard.Add(time.Since(began))
}

// listens reports whether the client must not be silent. v.mu is held.
func (v *served) listens() bool { return v.reads && v.opts.Silence > 0 && !v.paused }

// next puts what to write now into v.given, and reports whether the connection is
// to be closed after it, by the session or since the client has gone.
func (v *served) next() (end, gone bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.given.reset()
	if cap(v.given.frames) > keepFrames {
		v.given.frames = nil
	}
	v.pull = v.conn.woken.Swap(false) || v.pull
	if v.answer(&v.given) || v.end != nil || v.gone {
		return v.end != nil, v.gone // a session is pulled when all was written
	}
	now := time.Now()
	if v.pull || v.worked || !v.due.IsZero() && !now.Before(v.due) {
		v.pull, v.worked, v.due = false, false, time.Time{}
		v.session.Pull(&v.given)
		v.room.Broadcast()
	}
	sent := v.out.sent
	if v.given.bytes > 0 {
		sent = now
	}
	if v.given.end == nil && v.opts.Heartbeat > 0 && !now.Before(v.beat(sent)) {
		v.session.Beat(&v.given)
		v.beaten = now
		v.draw()
	}
	v.settle(&v.given)
	return v.end != nil, false
}

// answer moves the replies to out, and reports whether there were any. v.mu is
// held.
func (v *served) answer(out *Out) bool {
	if len(v.replies) == 0 {
		return false
	}
	out.Share(v.replies)
	v.replies = nil
	v.room.Broadcast()
	return true
}

// settle notes what the session has said. v.mu is held.
func (v *served) settle(out *Out) {
	out.flushCopied()
	v.out.buffered.Add(int64(out.bytes))
	v.pull = v.pull || out.more
	if !out.due.IsZero() {
		v.due = out.due
	}
	if out.end == nil {
		return
	}
	v.end = out.end
	v.room.Broadcast()
	if within := out.end.Within; within > 0 {
		v.out.bound(time.Now().Add(within))
	}
}

// wait returns how long nothing is to be done unless the session is woken.
func (v *served) wait() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pull || v.worked {
		return 0
	}
	now, wait := time.Now(), time.Duration(math.MaxInt64)
	if v.opts.Heartbeat > 0 {
		wait = v.beat(v.out.sent).Sub(now)
	}
	if !v.due.IsZero() {
		wait = min(wait, v.due.Sub(now))
	}
	if v.listens() {
		wait = min(wait, v.heard.Add(v.opts.Silence).Sub(now))
	}
	return max(wait, 0)
}

// beat returns when a sign of life is due, when the last byte was sent at sent.
// v.mu is held.
func (v *served) beat(sent time.Time) time.Time {
	quiet := sent
	if v.reads && v.opts.Silence > 0 && v.heard.Before(quiet) {
		quiet = v.heard // a client that falls silent is asked first
	}
	if quiet.Before(v.beaten) {
		quiet = v.beaten
	}
	return quiet.Add(v.interval)
}

// draw draws the interval until the next sign of life.
func (v *served) draw() {
	tenth := max(v.opts.Heartbeat/10, 0)
	v.interval = v.opts.Heartbeat - tenth + rand.N(2*tenth+1) //nolint:gosec // only to spread them
}

// finish closes the connection as the session has asked, or asks meanwhile.
func (v *served) finish(ctx context.Context, timer *time.Timer) error {
	began := time.Now()
	for shut, lingering := false, false; ctx.Err() == nil; lingering = true {
		v.mu.Lock()
		end, gone := *v.end, v.gone
		v.given.reset()
		v.answer(&v.given)
		v.mu.Unlock()
		if !shut {
			if err := v.out.send(ctx, v.given.frames); err != nil {
				return err
			}
		}
		if end.HalfClose && !shut {
			shut = true
			v.out.closeWrite()
		}
		left := time.Until(began.Add(end.Linger))
		if !v.reads || gone || left <= 0 {
			return nil
		}
		if !lingering {
			v.out.bound(began.Add(end.Linger))
		}
		timer.Reset(left)
		select {
		case <-v.wake:
		case <-timer.C:
		}
		if v.conn.reset.Load() {
			return ErrReset
		}
	}
	return nil // all was written
}
