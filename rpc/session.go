package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
)

const (
	// maxAnswers is how many answers may wait to be sent before nothing more is
	// received.
	maxAnswers = 64
	// notice is how long before its greatest age a session is told, or a quarter of
	// that if it is less. Requests are answered until then; events are for the next
	// session, which goes on from the cursors that the client is told.
	notice = 5 * time.Second
)

// Session reads many topics, and publishes.
func (s *service) Session(ctx context.Context, stream *connect.BidiStream[fairleadv1.SessionRequest, fairleadv1.SessionResponse]) error {
	c := &conversation{stream: stream}
	c.room.L = &c.mu
	c.reader = s.begin(ctx, stream.Peer(), c.before)
	if !c.old.IsZero() {
		c.told = c.old.Add(-min(notice, s.cfg.MaxAge/4))
	}
	if err := c.serve(func() error { return c.talk(ctx) }); err != nil {
		return toStatus(err, nil)
	}
	return nil
}

// talk receives and sends until the end.
func (c *conversation) talk(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var receiving sync.WaitGroup
	receiving.Go(func() { c.receive(ctx) })
	defer func() {
		cancel()
		c.leave()
		c.line.deafen()
		receiving.Wait()
		if c.panicked != nil {
			panic(c.panicked) // where the call's interceptors see it
		}
	}()
	return c.send()
}

// conversation is a call of Session: one goroutine receives and acts, the other
// sends.
type conversation struct {
	*reader

	stream *connect.BidiStream[fairleadv1.SessionRequest, fairleadv1.SessionResponse]
	told   time.Time // when the client is told that the stream is old; the zero time: never
	ends   bool      // it was told: no event follows the cursors

	taken []*fairleadv1.SessionResponse // answers that go before what Next returned; of the sender

	mu       sync.Mutex
	room     sync.Cond // what the receiver waits for: answers that were taken, or the end
	answers  []*fairleadv1.SessionResponse
	left     bool  // nothing more is sent
	heard    error // why nothing more is received; io.EOF when the client has said all
	panicked any   // what the receiver panicked with
}

// before takes the answers that wait, before the feed is asked for more: so that the
// answer to a subscription comes before what the topic gives, and that to its end
// after it.
func (c *conversation) before() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) > 0 {
		c.taken, c.answers = append(c.taken, c.answers...), nil
		c.room.Broadcast()
	}
	return len(c.taken) > 0
}

// send sends until the end.
func (c *conversation) send() error {
	items := make([]topic.Item, taken)
	for {
		n, err := c.feed.Next(items, c.idle(time.Now()))
		if err != nil {
			c.before()
		}
		if len(c.taken)+n > 0 {
			if err := c.line.together(func() error { return c.giveAll(items[:n]) }); err != nil {
				return err
			}
		}
		if err != nil {
			return c.goodbye(err)
		}
		if over, err := c.over(); over || err != nil {
			return err
		}
		if err := c.aged(n); err != nil {
			return err
		}
		if c.ends {
			items = nil
		}
	}
}

// over reports whether nothing can come any more, since the client has said all and
// what it reads has ended. Its error is that of receiving.
func (c *conversation) over() (bool, error) {
	c.mu.Lock()
	heard, waiting := c.heard, len(c.answers)
	c.mu.Unlock()
	switch {
	case heard == nil || waiting > 0:
		return false, nil
	case !errors.Is(heard, io.EOF):
		return true, heard
	}
	return len(c.feed.Cursors()) == 0, nil
}

// aged tells a stream that is old so, and keeps a silent one alive.
func (c *conversation) aged(n int) error {
	now := time.Now()
	if !c.ends && !c.told.IsZero() && !now.Before(c.told) {
		c.ends = true
		if err := c.advise(comeBack); err != nil {
			return err
		}
	}
	if c.tooOld(now) {
		return errTooOld()
	}
	if n == 0 && now.Sub(c.sent) >= c.beat {
		return c.give(&fairleadv1.SessionResponse{})
	}
	return nil
}

// idle is how long nothing may be sent, from now.
func (c *conversation) idle(now time.Time) time.Duration {
	wait := c.reader.idle(now)
	if !c.ends && !c.told.IsZero() {
		wait = max(0, min(wait, c.told.Sub(now)))
	}
	return wait
}

// goodbye tells a client that is sent away where to go on.
func (c *conversation) goodbye(err error) error {
	if why, ok := errors.AsType[*fairlead.Error](err); ok && why.Code == fairlead.Draining {
		if err := c.advise(why.RetryAfter); err != nil {
			return err
		}
	}
	return err
}

// advise says where to go on, and when.
func (c *conversation) advise(after time.Duration) error {
	return c.give(&fairleadv1.SessionResponse{Message: &fairleadv1.SessionResponse_Draining_{
		Draining: deliver.ToDraining(after.Milliseconds(), c.feed.Cursors()),
	}})
}

// giveAll sends the answers that were taken, and then the items.
func (c *conversation) giveAll(items []topic.Item) error {
	defer clear(items)
	for _, m := range c.taken {
		if err := c.give(m); err != nil {
			return err
		}
	}
	c.taken = nil
	for i := range items {
		if err := c.give(deliver.ToSession(&items[i])); err != nil {
			return err
		}
		if items[i].Kind == topic.KindLag {
			return fairlead.Errorf(fairlead.TooSlow, "the reader fell behind what is retained in a topic that skips nothing silently: come back with the cursor")
		}
	}
	return nil
}

func (c *conversation) give(m *fairleadv1.SessionResponse) error {
	if err := c.stream.Send(m); err != nil {
		return err
	}
	if kind := kindOfResponse(m); kind != "" {
		c.feed.Message(kind, true, m)
	}
	c.sent = time.Now()
	return nil
}

// leave says that nothing more is sent.
func (c *conversation) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	c.room.Broadcast()
}

// receive acts on the client's messages, one after the other.
func (c *conversation) receive(ctx context.Context) {
	why := errPanicked()
	defer func() {
		c.panicked = recover()
		_ = c.feed.SetWindow(0) // who has said all acknowledges nothing any more
		c.mu.Lock()
		c.heard = why
		c.mu.Unlock()
		c.feed.Wake()
	}()
	for c.awaitRoom() {
		req, err := c.stream.Receive()
		if err != nil {
			why = err
			return
		}
		c.act(ctx, req)
	}
}

// awaitRoom waits until there is room for an answer, and reports whether anybody
// is to send it.
func (c *conversation) awaitRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.left && len(c.answers) >= maxAnswers {
		c.room.Wait()
	}
	return !c.left
}

// act does what the client asks for, and answers. It may block.
func (c *conversation) act(ctx context.Context, req *fairleadv1.SessionRequest) {
	var err error
	at := fairlead.Cursor("")
	kind, began := kindOfRequest(req), time.Now()
	c.feed.Message(kind, false, req)
	defer func() {
		if kind != deliver.KindMalformed {
			c.feed.Answered(kind, time.Since(began))
		}
	}()
	switch a := req.GetAction().(type) {
	case *fairleadv1.SessionRequest_Subscribe_:
		err = c.feed.Subscribe(ctx, a.Subscribe.GetTopic(), fairlead.Cursor(a.Subscribe.GetAfter()), func(start fairlead.Cursor) {
			c.answer(done(req, start)) // before the topic's first event
		})
		if err == nil {
			c.feed.Wake()
			return
		}
	case *fairleadv1.SessionRequest_Unsubscribe_:
		err = c.feed.Unsubscribe(a.Unsubscribe.GetTopic())
	case *fairleadv1.SessionRequest_Publish:
		at, err = c.publish(ctx, a.Publish)
	case *fairleadv1.SessionRequest_Ping_:
	case *fairleadv1.SessionRequest_Acknowledge_:
		err = c.feed.Acknowledge(a.Acknowledge.GetTopic(), fairlead.Cursor(a.Acknowledge.GetCursor()))
	case *fairleadv1.SessionRequest_Window_:
		err = c.feed.SetWindow(int(a.Window.GetEvents()))
	default:
		err = fairlead.Errorf(fairlead.InvalidArgument, "the message has no action that is known here")
	}
	if err != nil {
		c.feed.Refused(kind, err)
		c.answer(refused(req, err))
	} else {
		c.answer(done(req, at))
	}
	c.feed.Wake()
}

func (c *conversation) publish(ctx context.Context, req *fairleadv1.PublishRequest) (fairlead.Cursor, error) {
	b, err := deliver.BatchOf(req)
	if err != nil {
		return "", err
	}
	trace(b.Events, c.stream.RequestHeader())
	res, err := c.cfg.Readers.Publish(ctx, c.stream.RequestHeader(), req.GetTopic(), b)
	return res.Last, err
}

// answer has an answer sent.
func (c *conversation) answer(m *fairleadv1.SessionResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, m)
}

func done(req *fairleadv1.SessionRequest, at fairlead.Cursor) *fairleadv1.SessionResponse {
	return &fairleadv1.SessionResponse{Id: req.GetId(), Message: &fairleadv1.SessionResponse_Ok_{Ok: &fairleadv1.SessionResponse_Ok{Cursor: string(at)}}}
}

func refused(req *fairleadv1.SessionRequest, err error) *fairleadv1.SessionResponse {
	e := fairlead.AsError(err)
	m := &fairleadv1.SessionResponse_Error{Code: string(e.Code), Message: e.Message}
	if e.RetryAfter > 0 {
		m.RetryAfter = durationpb.New(e.RetryAfter)
	}
	return &fairleadv1.SessionResponse{Id: req.GetId(), Message: &fairleadv1.SessionResponse_Error_{Error: m}}
}
