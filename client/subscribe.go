package client

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
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

// reader is the state of a subscription over its connections.
type reader struct {
	cfg    Config
	url    *url.URL
	header http.Header // of every request
	after  fairlead.Cursor
	placed bool // after is from the server: no word, whatever it looks like
	// held says that the server may hold a connection of this reader that it
	// does not know to be dead, and advanced that the last one led somewhere.
	held, advanced bool
	// recognised says that it is settled whether an event stream is a topic's.
	recognised bool
	// stream is the address of a captured stream, once it is known.
	stream  *url.URL
	backoff backoff
	// retry is the server's least delay before each next connection, and pause
	// that before the very next one.
	retry, pause time.Duration
}

// Subscribe reads the stream or topic at url, over connection after
// connection. Each step yields an item or the error that ended the
// subscription: an *[fairlead.Error] made from the server's answer or for what
// no server could answer, or ctx's cause. Breaking off the loop closes the
// connection. While the loop's body runs nothing is read: a slow consumer slows
// the server, and is not taken for a dead connection. No goroutine outlives the
// loop.
func Subscribe(ctx context.Context, url string, cfg Config) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		r, err := newReader(url, cfg.withDefaults())
		if err == nil {
			err = r.run(ctx, yield)
		}
		if err != nil {
			yield(Item{}, err)
		}
	}
}

func newReader(url string, cfg Config) (*reader, error) {
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	header := cfg.header()
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	return &reader{
		cfg: cfg, url: u, header: header, after: cfg.After,
		backoff: backoff{low: cfg.MinBackoff, high: cfg.MaxBackoff},
	}, nil
}

// run connects until the stream has ended, the caller breaks off, both of
// which are nil, or an error is final.
func (r *reader) run(ctx context.Context, yield func(Item, error) bool) error {
	for {
		err := r.connect(ctx, yield)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(err) && !r.ownConflict(err):
			return err
		}
		if e, ok := asError(err); ok {
			r.pause = max(r.pause, e.RetryAfter)
		}
		delay := r.delay()
		if r.cfg.OnRetry != nil {
			r.cfg.OnRetry(err, delay)
		}
		if !sleep(ctx, delay) {
			return context.Cause(ctx)
		}
	}
}

// delay returns how long to wait before the next connection.
func (r *reader) delay() time.Duration {
	hint := max(r.retry, r.pause)
	r.pause = 0
	if r.advanced {
		return r.backoff.least(hint)
	}
	return r.backoff.delay(hint)
}

// ownConflict reports whether err may be about this reader itself: a topic
// that takes one reader still has its last connection, half open.
func (r *reader) ownConflict(err error) bool {
	e, ok := asError(err)
	return ok && e.Code == fairlead.Conflict && r.held
}

// connect reads one connection to its end; nil says that there is nothing left
// to do.
func (r *reader) connect(ctx context.Context, yield func(Item, error) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.advanced = false
	s, err := r.open(ctx, cancel)
	if _, refused := asError(err); !refused {
		r.held = true
	}
	if err == nil {
		defer s.close()
		opened := time.Now()
		err = r.read(s, yield)
		// Silence, however long, proves no stability.
		if time.Since(opened) >= r.cfg.StableAfter && !errors.Is(context.Cause(ctx), errSilent) {
			r.backoff.reset()
		}
	}
	if err == nil || errors.Is(err, errEnded) {
		return nil
	}
	return causeOf(ctx, err)
}

// causeOf prefers the reason why ctx ended to the error it led to.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (r *reader) read(s session, yield func(Item, error) bool) error {
	before := r.after
	for {
		item, err := s.next()
		if err != nil {
			return err
		}
		if item.Cursor != "" {
			r.advanced = r.advanced || item.Cursor != before
			r.move(item.Cursor)
		} else if !r.word() {
			item.Cursor = r.after
		}
		if !yield(item, nil) || item.Kind == KindEnd || item.Kind == KindFault {
			return nil
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
		return r.openPoll(ctx, cancel)
	case GRPC:
		return r.openGRPC(ctx, cancel)
	}
	return nil, fairlead.Errorf(fairlead.InvalidArgument, "there is no transport %q: use %s, %s, %s or %s", r.cfg.Transport, SSE, WebSocket, GRPC, Poll)
}

// move notes where the reader stands.
func (r *reader) move(to fairlead.Cursor) { r.after, r.placed = to, true }

// word reports whether the reader has yet to be given a place.
func (r *reader) word() bool { return !r.placed && r.after.IsWord() }

// start returns where the next connection begins: a cursor, a word, or "" for
// what the server does by default.
func (r *reader) start() fairlead.Cursor {
	q := r.url.Query()
	return cmp.Or(r.after, fairlead.Cursor(q.Get("after")), fairlead.Cursor(q.Get("last_event_id")))
}

// request returns a GET of the target with the header of every request.
func (r *reader) request(ctx context.Context, target *url.URL, accept string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	req.Header = r.header.Clone()
	req.Header.Set("Accept", accept)
	return req, nil
}

// with returns a copy of u with query parameters set.
func with(u *url.URL, set map[string]string) *url.URL {
	v, q := *u, u.Query()
	for name, value := range set {
		q.Set(name, value)
	}
	v.RawQuery = q.Encode()
	return &v
}
