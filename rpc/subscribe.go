package rpc

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/wire"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
)

const (
	// taken is how many items are taken from the topics at once: what a stream that
	// does not move holds of them.
	taken = 32
	// comeBack is when a stream that was too old may be opened again.
	comeBack = 100 * time.Millisecond
)

// reader is a stream that reads topics.
type reader struct {
	cfg  *Config
	line *line
	feed *deliver.Feed
	beat time.Duration // how much silence there is at most
	sent time.Time     // when a message was last sent
	old  time.Time     // when the stream is; the zero time: never
}

// begin begins a session; before is as in [deliver.FeedConfig].
func (s *service) begin(ctx context.Context, peer connect.Peer, before func() bool) *reader {
	r := &reader{cfg: s.cfg, line: lineOf(ctx), sent: time.Now(), old: s.cfg.oldAt(time.Now())}
	// Not all beat at once that an event has silenced together.
	r.beat = s.cfg.Heartbeat*9/10 + rand.N(s.cfg.Heartbeat/5+1)
	r.line.endless()
	r.feed = s.cfg.Readers.Feed(ctx, deliver.FeedConfig{Transport: peer.Protocol, Remote: peer.Addr, HangUp: r.line.hangUp, Before: before})
	r.line.written = r.feed.Sent
	return r
}

// oldAt is when a stream that begins now is too old; the zero time: never.
func (c *Config) oldAt(now time.Time) time.Time {
	if c.MaxAge <= 0 {
		return time.Time{}
	}
	return now.Add(c.MaxAge - rand.N(c.MaxAge/10+1))
}

// serve runs the session, and ends it with what that returns, or with a panic.
func (r *reader) serve(run func() error) (err error) {
	err = errPanicked()
	defer func() { r.feed.End(err) }()
	if err = run(); err != nil && r.line.hasStalled() {
		err = fairlead.Errorf(fairlead.TooSlow, "nothing was taken for %v", r.cfg.WriteTimeout)
	}
	return err
}

// idle is how long nothing may be sent, from now.
func (r *reader) idle(now time.Time) time.Duration {
	wait := r.beat - now.Sub(r.sent)
	if !r.old.IsZero() {
		wait = min(wait, r.old.Sub(now))
	}
	return max(0, wait)
}

// tooOld reports whether the stream has reached its age.
func (r *reader) tooOld(now time.Time) bool { return !r.old.IsZero() && !now.Before(r.old) }

func errTooOld() *fairlead.Error {
	e := fairlead.Errorf(fairlead.Draining, "the stream has reached its greatest age: open another, from the cursor")
	e.RetryAfter = comeBack
	return e
}

// errPanicked is why a call ended of which nothing else is known.
func errPanicked() error { return fairlead.Errorf(fairlead.Internal, "the call failed on the server") }

// Subscribe reads a topic.
func (s *service) Subscribe(ctx context.Context, req *connect.Request[fairleadv1.SubscribeRequest], stream *connect.ServerStream[fairleadv1.SubscribeResponse]) error {
	r := &subscription{reader: s.begin(ctx, req.Peer(), nil), stream: stream, topic: req.Msg.GetTopic(), failOnGap: req.Msg.GetFailOnGap()}
	r.feed.Message(deliver.KindSubscribe, false, req.Msg)
	err := r.serve(func() error { return r.run(ctx, fairlead.Cursor(req.Msg.GetAfter())) })
	if err == nil {
		return nil
	}
	facts := map[string]string{"topic": r.topic}
	if r.at != "" {
		facts["cursor"] = string(r.at)
	}
	if g := r.gap; g != nil {
		facts["after"], facts["earliest"] = g.GetAfter(), g.GetEarliest()
		if g.Skipped != nil {
			facts["skipped"] = strconv.FormatUint(g.GetSkipped(), 10)
		}
	}
	return toStatus(err, facts)
}

// subscription is a call of Subscribe.
type subscription struct {
	*reader

	stream    *connect.ServerStream[fairleadv1.SubscribeResponse]
	topic     string
	failOnGap bool
	at        fairlead.Cursor // where the client stands
	gap       *fairleadv1.Gap // that ended it
}

// run returns nil at the end of the topic.
func (r *subscription) run(ctx context.Context, after fairlead.Cursor) error {
	if err := r.feed.Subscribe(ctx, r.topic, after, func(c fairlead.Cursor) { r.at = c }); err != nil {
		return err
	}
	if err := r.send(deliver.KindControl, &fairleadv1.SubscribeResponse{Cursor: string(r.at)}); err != nil {
		return err
	}
	items := make([]topic.Item, taken)
	for {
		n, err := r.feed.Next(items, r.idle(time.Now()))
		if err != nil {
			return err
		}
		if over, err := r.giveAll(items[:n]); over || err != nil {
			return err
		}
		now := time.Now()
		if r.tooOld(now) {
			return errTooOld()
		}
		if n == 0 && now.Sub(r.sent) >= r.beat {
			if err := r.send(deliver.KindPing, &fairleadv1.SubscribeResponse{Cursor: string(r.at)}); err != nil {
				return err
			}
		}
	}
}

// giveAll sends items; over is true when the topic has ended with them.
func (r *subscription) giveAll(items []topic.Item) (over bool, err error) {
	if len(items) == 0 {
		return false, nil
	}
	defer clear(items)
	err = r.line.together(func() (err error) {
		for i := range items {
			if over, err = r.give(&items[i]); over || err != nil {
				return err
			}
		}
		return nil
	})
	return over, err
}

// give sends an item; over is true for the end of the topic.
func (r *subscription) give(item *topic.Item) (over bool, err error) {
	kind, m := "", &fairleadv1.SubscribeResponse{Cursor: string(item.Cursor), Skipped: item.Skipped}
	switch item.Kind {
	case topic.KindEvent:
		m.Item = &fairleadv1.SubscribeResponse_Event{Event: wire.ToProto(&item.Record.Event)}
	case topic.KindGap:
		gap := deliver.ToGap(item)
		if r.failOnGap {
			r.gap, r.at = gap, item.Cursor
			return false, fairlead.Errorf(fairlead.OutOfRange, "events after the cursor are no longer retained: go on from the cursor in the details, or from earliest")
		}
		kind, m.Item = deliver.KindControl, &fairleadv1.SubscribeResponse_Gap{Gap: gap}
	case topic.KindEnd:
		r.stream.ResponseTrailer().Set(cursorTrailer, string(item.Cursor))
		return true, nil
	case topic.KindFault:
		r.at = item.Cursor
		return false, &broken{item.Fault}
	default: // it lags
		r.at = item.Gap.After
		return false, fairlead.Errorf(fairlead.TooSlow, "the reader fell behind what is retained, and the topic skips nothing silently: come back with the cursor")
	}
	if err := r.send(kind, m); err != nil {
		return false, err
	}
	r.at = item.Cursor
	return false, nil
}

// send sends a message, of a kind unless it is an event.
func (r *subscription) send(kind string, m *fairleadv1.SubscribeResponse) error {
	if err := r.stream.Send(m); err != nil {
		return err
	}
	if kind != "" {
		r.feed.Message(kind, true, m)
	}
	r.sent = time.Now()
	return nil
}
