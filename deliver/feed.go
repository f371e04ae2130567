package deliver

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// FeedConfig describes the session of a transport that is not this package's.
type FeedConfig struct {
	// Transport is TransportGRPC, TransportGRPCWeb or TransportConnect.
	Transport string
	// Remote is the address of the client's connection.
	Remote string
	// HangUp breaks the transport's I/O, so that who sends returns. It is called
	// when the session is to end at once, perhaps more than once, by any goroutine,
	// and must not block.
	HangUp func()
	// Before is called each time before Next looks what there is, so that what Next
	// then returns came later than what Before saw. When it returns true, Next returns
	// at once. The Feed is locked: it must not be called. nil: nothing is.
	Before func() bool
}

// Admit refuses requests of web pages of other origins than the handler's own and
// Config.Origins, with PermissionDenied, and adds to header what tells the browser
// of those that it allows.
func (h *Handler) Admit(header http.Header, r *http.Request) error { return h.origins.admit(header, r) }

// MayPublish returns nil if a request with the header may publish, else why not.
func (h *Handler) MayPublish(header http.Header) error {
	return h.mayPublish(nil, header.Get("Authorization"))
}

// Publish appends to the topic for a client whose request has the header, as a POST
// would: with its token, its limits and its errors. The events may be of at most
// Config.MaxBody bytes in all.
func (h *Handler) Publish(ctx context.Context, header http.Header, name string, b topic.Batch) (topic.Result, error) {
	return h.publishAs(ctx, h.MayPublish(header), name, b)
}

// publishAs publishes for who may, unless forbidden says why not.
func (h *Handler) publishAs(ctx context.Context, forbidden error, name string, b topic.Batch) (res topic.Result, err error) {
	if err = forbidden; err == nil {
		res, err = h.admitted(ctx, name, b)
	}
	code, n := fairlead.Code(""), 0
	if err != nil {
		code = fairlead.AsError(err).Code
	} else if !res.Repeated {
		n = res.Count
	}
	h.cfg.Observer.Published(name, n, code)
	return res, err
}

// admitted appends what keeps to the limits of a publish.
func (h *Handler) admitted(ctx context.Context, name string, b topic.Batch) (topic.Result, error) {
	if len(b.Events) > maxBatch {
		return topic.Result{}, tooMany()
	}
	if len(b.IdempotencyKey) > maxIdempotencyKey {
		return topic.Result{}, fairlead.Errorf(fairlead.InvalidArgument, "an idempotency_key has at most %d bytes", maxIdempotencyKey)
	}
	size := int64(0)
	for i := range b.Events {
		err := b.Events[i].Validate()
		if err == nil {
			err = checkAttributes(b.Events[i].Attributes)
		}
		if !isTraceparent(b.Events[i].Traceparent) {
			b.Events[i].Traceparent = "" // W3C Trace Context §3.2.2
		}
		if err != nil {
			if len(b.Events) > 1 {
				err = inBatch(i, err)
			}
			return topic.Result{}, err
		}
		size += int64(len(b.Events[i].Data))
	}
	if size > h.cfg.MaxBody {
		return topic.Result{}, h.bodyTooLarge()
	}
	return h.traced(ctx, name, b)
}

// Feed is a session on a transport of the caller's own, such as gRPC: who has it
// asks [Feed.Next] for what comes, and sends that. It is one of the handler's
// sessions like the others: listed, counted, drained and found slow.
//
// Next is for one goroutine at a time; all else may be called by others meanwhile.
type Feed struct {
	session
	call   pageCall
	before func() bool

	wake  chan struct{} // holds a token when Next is to look
	asked atomic.Bool   // Next is to return
	idle  *time.Timer   // of Next

	mu     sync.Mutex
	topics map[string]*place // at most Config.MaxTopics
	window window
	last   moment // of events
	begun  bool   // it was subscribed to something
}

// Feed begins a session, which lasts until [Feed.End]. What waits in it ends with
// ctx.
func (h *Handler) Feed(ctx context.Context, cfg FeedConfig) *Feed {
	f := &Feed{wake: make(chan struct{}, 1), topics: make(map[string]*place)}
	f.since, f.reader = time.Now().UnixNano(), topic.NewWokenReader(feedWaker{f})
	f.before, f.call.hang, f.call.feed = cfg.Before, cfg.HangUp, true
	f.call.ctx, f.call.cancel = context.WithCancelCause(ctx) //nolint:fatcontext // it is a new one
	f.rarely().poll = &f.call
	h.begin(&f.session, cfg.Remote, transport(max(0, slices.Index(transports[:], cfg.Transport))), false) //nolint:gosec // there are few
	return f
}

// Wake makes the current or the next call of Next return.
func (f *Feed) Wake() {
	f.asked.Store(true)
	f.look()
}

// look has Next look what there is.
func (f *Feed) look() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// feedWaker is woken by the topics.
type feedWaker struct{ *Feed }

func (w feedWaker) Wake() { w.look() }

// Subscribe reads a topic from the cursor or the word, by default from latest. When
// the cursor is past the topic's end, that is what Next returns. started is called
// with where the reader stands, before Next can return something of the topic; it
// must not call the Feed. Subscribe waits a little for a topic that has its one
// reader. Its errors are those of [topic.Reader.Add], TooLarge beyond
// Config.MaxTopics, InvalidArgument for a name that is none, and Conflict for a topic
// that is subscribed, or was removed and whose fault Next has yet to return.
func (f *Feed) Subscribe(ctx context.Context, name string, after fairlead.Cursor, started func(fairlead.Cursor)) error {
	if err := fairlead.CheckTopicName(name); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := f.subscribe(name, after, started)
		if !busy(err) || f.reads(name) || try == busyTries || !pause(ctx) {
			return err
		}
	}
}

func (f *Feed) reads(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topics[name] != nil
}

func (f *Feed) subscribe(name string, after fairlead.Cursor, started func(fairlead.Cursor)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	start, err := f.join(f.topics, name, after)
	if err != nil {
		return err
	}
	if resumes(after) {
		f.resumed = true
	}
	started(start)
	if !f.begun {
		f.begun = true
		f.established()
	}
	return nil
}

// Unsubscribe stops reading a topic. Next returns nothing more of it.
func (f *Feed) Unsubscribe(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics[name] == nil {
		return notSubscribed(name)
	}
	f.forget(name)
	return nil
}

// forget leaves a topic. f.mu is held.
func (f *Feed) forget(name string) {
	f.reader.Remove(f.topics[name].log)
	delete(f.topics, name)
	f.window.forget(name)
	f.look()
}

// SetWindow bounds how many events Next returns before they are acknowledged; 0
// ends that. The most is 10,000.
func (f *Feed) SetWindow(events int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.window.resize(events)
}

// Acknowledge says that the topic's events up to the cursor are dealt with. Its errors
// are InvalidArgument when there is no window, or for what is not the cursor of an
// event that was returned, and NotFound for a topic that is not subscribed.
func (f *Feed) Acknowledge(name string, at fairlead.Cursor) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.window.acknowledge(f.topics, name, at)
}

// Cursors returns where to go on, by topic.
func (f *Feed) Cursors() map[string]fairlead.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cursorsOf(f.topics)
}

// Next fills items with what comes next and returns how many that are. It returns
// none after a silence of idle, or after [Feed.Wake]. Calling it says that what it
// returned before has been sent. Its errors are the cause of the session's context,
// and the *fairlead.Error with which the session is sent away: Draining with
// RetryAfter, or TooSlow.
func (f *Feed) Next(items []topic.Item, idle time.Duration) (int, error) {
	f.call.buffered.Store(0)
	until := time.Now().Add(idle)
	for {
		n, due, err := f.poll(items)
		if n > 0 || err != nil || f.asked.Swap(false) {
			return n, err
		}
		wait := time.Until(until)
		if wait <= 0 {
			return 0, nil
		}
		if !due.IsZero() {
			wait = min(wait, time.Until(due))
		}
		f.await(wait)
	}
}

// await returns when there may be something, or after so long.
func (f *Feed) await(wait time.Duration) {
	if f.idle == nil {
		f.idle = time.NewTimer(wait)
	} else {
		f.idle.Reset(wait)
	}
	defer f.idle.Stop()
	select {
	case <-f.wake:
	case <-f.idle.C:
	case <-f.call.ctx.Done():
	}
}

// poll is Next without waiting; due is when a topic that is held back by its rate
// has something.
func (f *Feed) poll(items []topic.Item) (n int, due time.Time, err error) {
	if why := f.away.Load(); why != nil {
		return 0, due, why
	}
	if f.call.ctx.Err() != nil {
		return 0, due, context.Cause(f.call.ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil && f.before() {
		f.asked.Store(true)
	}
	room := f.window.room(len(items))
	if room == 0 {
		return 0, due, nil // an acknowledgement wakes
	}
	n, _, due = f.reader.PollSome(items[:room], pullBytes)
	bytes, then := 0, f.tally()
	for i := range items[:n] {
		item := &items[i]
		f.count(item)
		f.window.handed(item)
		if moveOn(f.topics, item) {
			f.forget(item.Log.Name())
		}
		if item.Record != nil {
			bytes += len(item.Record.Event.Data)
		}
	}
	f.call.buffered.Store(int64(bytes))
	f.delivered(items[:n], then, bytes, &f.last)
	return n, due, nil
}

// Sent counts bytes that were sent.
func (f *Feed) Sent(bytes int) {
	f.bytes.Add(uint64(max(0, bytes))) //nolint:gosec // not negative
}

// End ends the session, and must be called once. err is why: nil as it should, an
// *fairlead.Error, or what the context or the transport said; of a session that was
// sent away or hung up, why that was.
func (f *Feed) End(err error) {
	why, known := errors.AsType[*fairlead.Error](err)
	if !known && err != nil {
		why, known = errors.AsType[*fairlead.Error](context.Cause(f.call.ctx))
	}
	f.call.over()
	reason := fairlead.Code("")
	switch {
	case err == nil:
	case known:
		reason = why.Code
	case errors.Is(err, context.DeadlineExceeded):
		reason = fairlead.DeadlineExceeded
	default:
		reason = fairlead.Cancelled
	}
	f.session.end(reason)
}
