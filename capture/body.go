package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// errBeat interrupts a wait in which nothing came for a heartbeat.
var errBeat = errors.New("capture: heartbeat")

// errLost is the end of a body whose next part is no longer retained.
var errLost = fairlead.Errorf(fairlead.TooSlow, "the reader fell behind what is retained; the stream's URL has the rest")

// heartbeat is one comment line: a blank line after it would be an empty event
// to some parsers.
const heartbeat = ": \n"

// body is a response's body made from the log. Read is for one goroutine;
// Close may be called at any time.
type body struct {
	s       *stream
	r       *topic.Reader
	ctx     context.Context // ends with the client's, with Close and with a cut
	cancel  context.CancelCauseFunc
	stop    func() bool // of watching the client's context
	trailer http.Header // of the response
	once    sync.Once
	busy    atomic.Int64 // when the reader was last here; 0 while it waits

	beat    *beat
	items   [8]topic.Item // few, so that a slow reader acknowledges often
	at, got int
	frame   []byte // to be read first
	err     error  // to be returned when frame is used up
}

// newBody attaches a reader of the stream after event seq. The stream must
// have been entered; Close exits it.
func (s *stream) newBody(client context.Context, seq uint64, announce bool) (*body, error) {
	b := &body{s: s, r: topic.NewReader()}
	if err := b.r.Add(s.log, s.at(seq)); err != nil {
		return nil, err
	}
	b.ctx, b.cancel = context.WithCancelCause(context.WithoutCancel(client))
	if s.form == asEvents {
		b.beat = newBeat(b.ctx, s.cfg.Heartbeat)
		if announce {
			b.frame = append(append(append(b.frame, "id: "...), s.cursor(seq)...), "\n\n"...)
		}
	}
	b.busy.Store(time.Now().UnixNano())
	s.mu.Lock()
	s.bodies[b] = struct{}{}
	s.mu.Unlock()
	b.stop = context.AfterFunc(client, func() {
		b.cancel(context.Cause(client))
		b.leave()
	})
	return b, nil
}

// Read returns what the log has next. Its error is io.EOF only for a clean end
// of the upstream's body.
func (b *body) Read(p []byte) (n int, err error) {
	defer func() { b.busy.Store(time.Now().UnixNano()) }()
	if b.ctx.Err() != nil {
		return 0, b.cause()
	}
	for n < len(p) {
		switch {
		case len(b.frame) > 0:
			c := copy(p[n:], b.frame)
			b.frame = b.frame[c:]
			n += c
		case b.err != nil:
			if n > 0 {
				return n, nil
			}
			return 0, b.err
		case b.at < b.got:
			b.take(&b.items[b.at])
			b.at++
		case n > 0:
			return n, nil
		default:
			b.wait()
		}
	}
	return n, nil
}

// wait gets the next items, or a heartbeat.
func (b *body) wait() {
	b.busy.Store(0)
	ctx := b.ctx
	if b.beat != nil {
		ctx = b.beat.wait()
	}
	b.at = 0
	var err error
	b.got, err = b.r.Next(ctx, b.items[:])
	switch {
	case errors.Is(err, errBeat):
		if b.beat.due() {
			b.frame = []byte(heartbeat)
		}
	case err != nil:
		b.err = b.cause()
	case b.beat != nil:
		b.beat.heard()
	}
}

// cause returns why the body was cancelled.
func (b *body) cause() error {
	return fmt.Errorf("capture: read: %w", context.Cause(b.ctx))
}

func (b *body) take(item *topic.Item) {
	switch item.Kind {
	case topic.KindEvent:
		b.frame = item.Record.Event.Data
	case topic.KindEnd:
		b.s.mu.Lock()
		b.frame = b.s.tail
		mergeTrailer(b.trailer, b.s.trailers)
		b.s.mu.Unlock()
		b.err = io.EOF
	case topic.KindFault:
		b.err = fmt.Errorf("capture: read: %w", item.Fault)
	case topic.KindGap, topic.KindLag:
		b.err = fmt.Errorf("capture: read: %w", errLost)
	}
}

// lose takes the body's place in the log.
func (b *body) lose() {
	b.cancel(errLost)
	b.r.Close()
}

// Close leaves the stream; a Read in progress ends.
func (b *body) Close() error {
	b.stop()
	b.cancel(http.ErrBodyReadAfterClose)
	b.leave()
	return nil
}

func (b *body) leave() {
	b.once.Do(func() {
		if b.beat != nil {
			b.beat.stop()
		}
		b.r.Close()
		b.s.mu.Lock()
		delete(b.s.bodies, b)
		b.s.mu.Unlock()
		b.s.exit()
	})
}

// response makes a response of the stream, read after event seq.
func (s *stream) response(r *http.Request, seq uint64) (*http.Response, error) {
	b, err := s.newBody(r.Context(), seq, fromEventSource(r))
	if err != nil {
		s.exit()
		return nil, fmt.Errorf("capture: attach: %w", err)
	}
	resp := response(r, s.status, s.header.Clone(), b, -1)
	if len(s.trailer) > 0 {
		resp.Trailer = s.trailer.Clone()
		b.trailer = resp.Trailer
	}
	return resp, nil
}
