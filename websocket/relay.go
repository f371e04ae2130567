package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// RelayConfig adjusts [Relay]. The zero value is ready to use.
type RelayConfig struct {
	// MaxMessage is the largest message that passes, in bytes as sent, summed
	// over its fragments; a larger one closes both sides with 1009. Default 16 MiB.
	MaxMessage int64
	// PingInterval is how long a side may be silent before it is pinged, give or
	// take a tenth. Default 15 s.
	PingInterval time.Duration
	// MaxMissed is for how many intervals a side may send nothing while it is
	// read, or take nothing while it is written to, before it counts as dead.
	// Default 3.
	MaxMissed int
	// CloseTimeout bounds a close handshake across both sides. Default 5 s.
	CloseTimeout time.Duration
	// Stats, when not nil, counts while the relay runs. Several relays may share one.
	Stats *RelayStats
}

func (c RelayConfig) withDefaults() RelayConfig {
	if c.MaxMessage <= 0 {
		c.MaxMessage = 16 << 20
	}
	if c.PingInterval <= 0 {
		c.PingInterval = 15 * time.Second
	}
	if c.MaxMissed <= 0 {
		c.MaxMissed = 3
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = 5 * time.Second
	}
	if c.Stats == nil {
		c.Stats = new(RelayStats)
	}
	return c
}

// RelayStats counts what a relay passes on.
type RelayStats struct {
	FromClient   RelayFlow
	FromUpstream RelayFlow
}

// RelayFlow counts one direction. Its fields may be read at any time.
type RelayFlow struct {
	// Messages is the number of data messages passed on whole.
	Messages atomic.Int64
	// Bytes is their payload as sent, fragments of unfinished ones included.
	Bytes atomic.Int64
	// Deflated and DeflatedBytes are the same of those messages that their first frame
	// says are compressed by permessage-deflate (RFC 7692 §6).
	Deflated, DeflatedBytes atomic.Int64
	// Buffered is the payload in memory now, in bytes: read and not yet written.
	Buffered atomic.Int64
}

// Errors of [Relay] that no peer and no stream reported.
var (
	errSilent = errors.New("nothing arrived for too long")
	errStalls = errors.New("nothing was taken for too long")
)

// RelayError is the end of a [Relay] that one of its sides has caused.
type RelayError struct {
	FromClient bool  // else it was the upstream
	Err        error // a [*CloseError], a [*ProtocolError], or the stream's
}

// Error names the side.
func (e *RelayError) Error() string {
	if e.FromClient {
		return "client: " + e.Err.Error()
	}
	return "upstream: " + e.Err.Error()
}

// Unwrap returns Err.
func (e *RelayError) Unwrap() error { return e.Err }

// relayChunk is how much of a frame is held at once, in bytes; with the read
// buffer it makes 32 KiB a direction.
const relayChunk = 32<<10 - readBuffer

// Relay joins a client, to which it is the server, with an upstream, to which it
// is the client, after both handshakes, and returns when both streams are
// closed and its goroutines have ended. The extensions must have been
// negotiated end to end: frames pass as they are, extension bits, fragments,
// pings and pongs included; only the masks are new.
//
// A side that reads slowly stops the reading of the other: at most 32 KiB a
// direction are in memory. A silent side is pinged; the answers to these pings
// are not passed on. Close codes and reasons pass both ways. Otherwise a side is
// told:
//
//   - a stream that breaks or dies: 1014 to the client, 1001 to the upstream,
//     or nothing but the end of its stream when half a frame is out;
//   - a message over the limit: 1009 to both;
//   - another violation: 1002 or 1007 to the violator, and to the other as if
//     the stream had broken;
//   - the end of ctx: 1012 to the client, 1001 to the upstream.
//
// The error is never nil and says what ended it: a [*CloseError] for the
// ordinary end (see [CloseCode]), a [*ProtocolError], or the stream's error, each in a
// [*RelayError], which has the side; or the cause of ctx.
func Relay(ctx context.Context, client, upstream io.ReadWriteCloser, cfg RelayConfig) error {
	cfg = cfg.withDefaults()
	r := &relay{
		cfg:      cfg,
		client:   newLeg("client", client, Server, &cfg.Stats.FromClient, cfg),
		upstream: newLeg("upstream", upstream, Client, &cfg.Stats.FromUpstream, cfg),
		closing:  make(chan struct{}),
		ended:    make(chan struct{}),
	}
	r.running.Store(2)
	var pumps sync.WaitGroup
	pumps.Go(func() { r.run(r.client, r.upstream) })
	pumps.Go(func() { r.run(r.upstream, r.client) })
	r.supervise(ctx)
	pumps.Wait()
	r.hard.Stop()
	r.client.close()
	r.upstream.close()
	return r.cause
}

// relay is one call of Relay. Each direction has a goroutine that reads one leg
// and writes the other; the caller's goroutine pings and watches.
type relay struct {
	cfg              RelayConfig
	client, upstream *leg

	running atomic.Int32  // directions that have not ended
	ended   chan struct{} // closed when none is running

	once    sync.Once
	closing chan struct{} // closed when the first reason to end appears
	cause   error         // that reason; written before closing is closed
	hard    *time.Timer   // closes the streams when nothing else did
}

// end notes the first reason to end, and bounds the rest.
func (r *relay) end(cause error) {
	r.once.Do(func() {
		r.cause = fmt.Errorf("websocket: relay: %w", cause)
		r.hard = time.AfterFunc(r.cfg.CloseTimeout+time.Second, func() {
			r.client.close()
			r.upstream.close()
		})
		close(r.closing)
	})
}

// supervise pings, drains when ctx ends, and gives up on a close handshake that
// takes too long, until both directions have ended.
func (r *relay) supervise(ctx context.Context) {
	tick := time.NewTimer(r.cfg.PingInterval)
	defer tick.Stop()
	done, closing := ctx.Done(), r.closing
	for {
		select {
		case <-r.ended:
			return
		case <-done:
			done = nil
			r.end(context.Cause(ctx))
			// Both are settled before either is sent: the echo of the one would tell
			// the other its code.
			r.client.planClose(closePayload(ServiceRestart, "the proxy is restarting"))
			r.upstream.planClose(closePayload(GoingAway, "the proxy is restarting"))
			r.client.flush()
			r.upstream.flush()
		case <-closing:
			closing = nil
			tick.Reset(r.cfg.CloseTimeout)
		case now := <-tick.C:
			if closing == nil {
				r.giveUp()
				<-r.ended
				return
			}
			tick.Reset(min(r.client.tend(now), r.upstream.tend(now)))
		}
	}
}

// giveUp ends a close handshake that one side does not finish: the one that
// asked for it gets its own code back.
func (r *relay) giveUp() {
	code := GoingAway
	if closed, ok := errors.AsType[*CloseError](r.cause); ok {
		code = closed.Code
	}
	r.client.askClose(closePayload(code, ""))
	r.upstream.askClose(closePayload(code, ""))
	r.client.close()
	r.upstream.close()
}

// run passes on what one leg sends until it ends, and tells both.
func (r *relay) run(from, to *leg) {
	defer func() {
		if r.running.Add(-1) == 0 {
			close(r.ended)
		}
	}()
	err := r.pump(from, to)
	r.end(&RelayError{FromClient: from == r.client, Err: err})
	if closed, ok := errors.AsType[*CloseError](err); ok {
		to.askClose(closePayload(closed.Code, closed.Reason))
		return
	}
	if broken, ok := errors.AsType[*ProtocolError](err); ok {
		from.planClose(closePayload(broken.Code, broken.Reason)) // before the echo of the other could
		if broken.Code == MessageTooBig {
			to.planClose(closePayload(broken.Code, broken.Reason))
		}
		to.askClose(from.goneFor())
		from.flush()
		skipToClose(from.br, from.unread)
		return
	}
	from.close()
	to.askClose(from.goneFor())
	if to.torn {
		to.close()
	}
}

// pump passes on frames until the leg's close frame, which it returns, or an
// error.
func (r *relay) pump(from, to *leg) error {
	var size int64 // of the message so far
	for {
		h, err := readHeader(from.br)
		if err != nil {
			return err
		}
		from.unread = h.Length
		if broken := from.rules.check(h); broken != nil {
			return broken
		}
		if h.OpCode.IsControl() {
			if err := passControl(from, to, h); err != nil {
				return err
			}
			continue
		}
		if h.OpCode != ws.OpContinuation {
			size, from.deflated = 0, h.Rsv1()
		}
		if h.Length > r.cfg.MaxMessage-size {
			return tooBig()
		}
		size += h.Length
		if err := passData(from, to, h); err != nil {
			return err
		}
		if h.Fin {
			from.flow.Messages.Add(1)
			if from.deflated {
				from.flow.Deflated.Add(1)
			}
		}
	}
}

func passControl(from, to *leg, h ws.Header) error {
	p := from.scratch[:h.Length]
	if _, err := io.ReadFull(from.br, p); err != nil {
		return cutShort(err)
	}
	from.unread = 0
	if h.Masked {
		ws.Cipher(p, h.Mask, 0)
	}
	switch {
	case h.OpCode == ws.OpClose:
		closed, broken := parseClose(p)
		if broken != nil {
			return broken
		}
		return closed
	case h.OpCode == ws.OpPong && from.ownPong(p):
		return nil
	}
	f := newFrame()
	defer f.release()
	f.frame(to.side, h.OpCode, h.Rsv, p)
	to.lock()
	to.put(f.b, to.patience)
	to.unlock()
	return nil
}

// passData passes on one data frame in chunks, so that its length does not
// matter. From the first chunk to the last nothing else can be sent to the leg.
func passData(from, to *leg, h ws.Header) error {
	out := h
	out.Masked, out.Mask = false, [4]byte{}
	if to.side == Client {
		out.Masked, out.Mask = true, ws.NewMask()
	}
	// Taking one mask off and putting the other on is one XOR.
	mask := out.Mask
	if h.Masked {
		for i := range mask {
			mask[i] ^= h.Mask[i]
		}
	}
	f := newFrame()
	defer f.release()
	f.header(out)
	for first := true; first || from.unread > 0; first = false {
		at := len(f.b)
		n := int(min(from.unread, int64(relayChunk-at)))
		f.b = slices.Grow(f.b, n)[:at+n]
		if _, err := io.ReadFull(from.br, f.b[at:]); err != nil {
			if !first {
				to.torn, to.deaf = true, true
				to.unlock()
			}
			return cutShort(err)
		}
		from.flow.Buffered.Add(int64(n))
		ws.Cipher(f.b[at:], mask, int((h.Length-from.unread)%4))
		from.unread -= int64(n)
		if first {
			to.lock()
		}
		to.put(f.b, to.patience)
		from.flow.Buffered.Add(int64(-n))
		from.flow.Bytes.Add(int64(n))
		if from.deflated {
			from.flow.DeflatedBytes.Add(int64(n))
		}
		f.b = f.b[:0]
	}
	to.unlock()
	return nil
}
