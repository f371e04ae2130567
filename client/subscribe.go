package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// session is one connection of a subscription. next fails when the connection
// has nothing more; errEnded says that nothing will ever follow.
type session interface {
	next() (Item, error)
	close()
}

// errEnded means that the reader has seen all there will be.
var errEnded = errors.New("client: the stream has ended")

// errSilent means that the server sent nothing for Config.IdleTimeout.
var errSilent = errors.New("client: the server fell silent")

// reader is the state of a subscription over its connections.
type reader struct {
	cfg   Config
	url   string
	after fairlead.Cursor
	// stream is the address of a captured stream, once it is known.
	stream string
	// pause is the least delay before the next connection that the server
	// asked for.
	pause time.Duration
}

// Subscribe reads the stream or topic at url, over connection after
// connection. Each step yields an item or the error that ended the
// subscription: an *[fairlead.Error] made from the server's answer, or ctx's
// cause. Breaking off the loop closes the connection.
func Subscribe(ctx context.Context, url string, cfg Config) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		r := &reader{cfg: cfg.withDefaults(), url: url, after: cfg.After}
		if err := r.run(ctx, yield); err != nil {
			yield(Item{}, err)
		}
	}
}

// run connects until the stream has ended, the caller breaks off, both of
// which are nil, or an error is final.
func (r *reader) run(ctx context.Context, yield func(Item, error) bool) error {
	b := backoff{low: r.cfg.MinBackoff, high: r.cfg.MaxBackoff}
	for {
		began := time.Now()
		done, err := r.connect(ctx, yield)
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(err):
			return err
		}
		if time.Since(began) >= r.cfg.StableAfter {
			b.reset()
		}
		delay := max(b.delay(), r.pause)
		r.pause = 0
		if r.cfg.OnRetry != nil {
			r.cfg.OnRetry(err, delay)
		}
		if !sleep(ctx, delay) {
			return context.Cause(ctx)
		}
	}
}

// connect reads one connection to its end; done says that there is nothing
// left to do.
func (r *reader) connect(ctx context.Context, yield func(Item, error) bool) (done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := r.open(ctx, cancel)
	if err != nil {
		return errors.Is(err, errEnded), err
	}
	defer s.close()
	for {
		item, err := s.next()
		if errors.Is(err, errEnded) {
			return true, nil
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return false, err
		}
		if item.Cursor != "" {
			r.after = item.Cursor
		}
		if !yield(item, nil) || item.Kind == KindEnd || item.Kind == KindFault {
			return true, nil
		}
	}
}

func (r *reader) open(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	switch r.cfg.Transport {
	case SSE:
		return r.openSSE(ctx, cancel)
	case WebSocket:
		return r.openWebSocket(ctx, cancel)
	case Poll:
		return &pollSession{reader: r, ctx: ctx, cancel: cancel}, nil
	}
	return nil, fairlead.Errorf(fairlead.InvalidArgument, "there is no transport %q: use %s, %s or %s", r.cfg.Transport, SSE, WebSocket, Poll)
}

// final reports whether err would be the same if one tried again.
func final(err error) bool {
	e, ok := errors.AsType[*fairlead.Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case fairlead.RateLimited, fairlead.Overloaded, fairlead.Draining, fairlead.TooSlow,
		fairlead.Unavailable, fairlead.DeadlineExceeded, fairlead.Internal, fairlead.Fault:
		return false
	}
	return true
}

// watch ends the connection through cancel when nothing arrives for a while.
// Any byte is a sign of life.
type watch struct {
	timer *time.Timer
	idle  time.Duration
}

func newWatch(idle time.Duration, cancel context.CancelCauseFunc) *watch {
	return &watch{idle: idle, timer: time.AfterFunc(idle, func() {
		cancel(fmt.Errorf("%w for %s", errSilent, idle))
	})}
}

func (w *watch) life() { w.timer.Reset(w.idle) }
func (w *watch) stop() { w.timer.Stop() }

// watched is a body whose every byte is a sign of life.
type watched struct {
	io.Reader
	watch *watch
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.watch.life()
	}
	return n, err
}
