package deliver

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// many is what a socket of a subprotocol adds to one.
type many struct {
	*socket

	speaks        dialect
	authorization string          // as the handshake had it: who may publish can change
	values        context.Context // of what its messages are done under

	// Guarded by socket.mu.
	topics map[string]*place
	window window
	ctx    context.Context    // of what its messages are done under; nil before the first
	cancel context.CancelFunc // of it
	gone   bool
}

// serveMany serves many topics on one socket.
func (h *Handler) serveMany(w http.ResponseWriter, r *http.Request) error {
	speaks := dialects[pickDialect(r)]
	if speaks == nil {
		return fairlead.Errorf(fairlead.InvalidArgument, "offer a subprotocol that is spoken here: %s or %s; for one topic open %s/NAME without one",
			protocolJSON, protocolProto, h.cfg.Prefix)
	}
	s := &socket{}
	s.since, s.reader = time.Now().UnixNano(), topic.NewWokenReader(&s.conn)
	s.many = &many{socket: s, speaks: speaks, authorization: strings.Clone(r.Header.Get("Authorization")), values: context.Background()}
	if h.cfg.OnMessage != nil {
		s.many.values = context.WithoutCancel(r.Context()) // which keeps the request
	}
	h.serveSocket(w, r, s, false)
	return nil
}

// begin returns the context of what the client's messages ask for, until the
// connection ends.
func (m *many) begin() context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil {
		m.ctx, m.cancel = context.WithCancel(m.values)
		if m.gone {
			m.cancel()
		}
	}
	return m.ctx
}

// leave ends it.
func (m *many) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	if m.cancel != nil {
		m.cancel()
	}
}

// reply has a frame sent.
func (m *many) reply(frame []byte) {
	m.mu.Lock()
	m.answer(frame)
	m.mu.Unlock()
	m.conn.Wake()
}

// handleAll acts on a client's messages, one after the other; it may block.
func (m *many) handleAll(messages []received) {
	ctx := m.begin()
	for _, r := range messages {
		if ctx.Err() != nil {
			return
		}
		asked, err := m.speaks.parse(r)
		if err != nil {
			m.message(KindMalformed, false, len(r.text))
			m.reply(m.problem(KindMalformed, asked.id, err))
			continue
		}
		kind := kinds[asked.verb]
		m.message(kind, false, len(r.text))
		m.handle(ctx, &asked)
		m.answered(kind, time.Since(r.at))
	}
}

func (m *many) handle(ctx context.Context, a *asked) {
	switch a.verb {
	case toSubscribe:
		m.enter(ctx, a.id, a.topic, a.cursor)
	case toUnsubscribe:
		m.unsubscribe(a.id, a.topic)
	case toPublish:
		m.reply(m.publish(ctx, a))
	case toPing:
		m.reply(m.speaks.ok(a.id, ""))
	case toAcknowledge, toSetWindow:
		m.flow(a)
	case toAsk:
		m.reply(m.ask(ctx, a.id, a.request))
	}
}

// problem returns the answer to a message of the kind that is an error.
func (m *many) problem(kind string, id json.RawMessage, err error) []byte {
	m.refused(kind, err)
	return m.speaks.problem(id, err)
}

// flow sets the window, or makes room in it.
func (m *many) flow(a *asked) {
	m.mu.Lock()
	var err error
	if a.verb == toSetWindow {
		err = m.window.resize(a.window)
	} else {
		err = m.window.acknowledge(m.topics, a.topic, a.cursor)
	}
	reply := m.speaks.ok(a.id, "")
	if err != nil {
		reply = m.problem(kinds[a.verb], a.id, err)
	}
	m.answer(reply)
	m.mu.Unlock()
	m.conn.Wake()
}

// enter subscribes, and tries again while the topic has its one reader.
func (m *many) enter(ctx context.Context, id json.RawMessage, name string, after fairlead.Cursor) {
	if err := fairlead.CheckTopicName(name); err != nil {
		m.reply(m.problem(KindSubscribe, id, err))
		return
	}
	for try := 0; ; try++ {
		// The reply goes before the topic's first event, hence under the lock.
		m.mu.Lock()
		reply, err := m.subscribe(id, name, after)
		retry := busy(err) && m.topics[name] == nil && try < busyTries
		if err != nil && !retry {
			reply = m.problem(KindSubscribe, id, err)
		}
		if !retry {
			m.answer(reply)
		}
		m.mu.Unlock()
		if !retry {
			m.conn.Wake()
			return
		}
		if !pause(ctx) {
			return
		}
	}
}

// subscribe returns the reply. m.mu is held.
func (m *many) subscribe(id json.RawMessage, name string, after fairlead.Cursor) ([]byte, error) {
	if m.topics == nil {
		m.topics = make(map[string]*place)
	}
	start, err := m.join(m.topics, name, after)
	if err != nil {
		return nil, err
	}
	return m.speaks.ok(id, start), nil
}

func (m *many) unsubscribe(id json.RawMessage, name string) {
	m.mu.Lock()
	if m.topics[name] != nil {
		m.forget(name)
		m.answer(m.speaks.ok(id, ""))
	} else {
		m.answer(m.problem(KindUnsubscribe, id, notSubscribed(name)))
	}
	m.mu.Unlock()
	m.conn.Wake()
}

// forget leaves a topic. m.mu is held, here and below.
func (m *many) forget(name string) {
	m.reader.Remove(m.topics[name].log)
	delete(m.topics, name)
	m.window.forget(name)
}

// moved notes where the reader stands in the item's topic.
func (m *many) moved(item *topic.Item) {
	if moveOn(m.topics, item) {
		m.forget(item.Log.Name())
	}
}

func (m *many) cursors() map[string]fairlead.Cursor { return cursorsOf(m.topics) }

// publish waits while a topic makes its publisher wait.
func (m *many) publish(ctx context.Context, a *asked) []byte {
	err := m.h.mayPublish(nil, m.authorization)
	if err != nil && fairlead.AsError(err).Code == fairlead.Unauthenticated {
		err = fairlead.Errorf(fairlead.Unauthenticated, "%s; on a WebSocket it is sent with the handshake", fairlead.AsError(err).Message)
	}
	res, err := m.h.publishAs(ctx, err, a.topic, a.batch)
	if err != nil {
		return m.problem(KindPublish, a.id, err)
	}
	return m.speaks.ok(a.id, res.Last)
}

// ask hands an application's message to OnMessage; they are JSON's only.
func (m *many) ask(ctx context.Context, id, request json.RawMessage) []byte {
	if m.h.cfg.OnMessage == nil {
		return m.problem(KindRequest, id, fairlead.Errorf(fairlead.InvalidArgument, "this server has no answers to requests of its own"))
	}
	reply, err := m.onMessage(ctx, Message{Request: request, Remote: m.remote})
	switch {
	case err != nil:
		return m.problem(KindRequest, id, err)
	case reply.OK != nil && !(json.Valid(reply.OK) && utf8.Valid(reply.OK)):
		return m.problem(KindRequest, id, fairlead.Errorf(fairlead.Internal, "the application's answer is not JSON in UTF-8"))
	}
	return textFrame(okReply(id, reply.OK))
}

func (m *many) onMessage(ctx context.Context, message Message) (reply Reply, err error) {
	defer func() {
		if v := recover(); v != nil {
			m.h.cfg.Observer.Panicked(v, debug.Stack())
			err = fairlead.Errorf(fairlead.Internal, "the application failed to answer")
		}
	}()
	return m.h.cfg.OnMessage(ctx, message)
}
