package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"slices"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// maxID is the longest id of a client's message, in bytes of JSON.
const maxID = 256

// many is what a socket of the subprotocol fairlead.v1.json adds to one.
type many struct {
	*socket

	publisher error           // why the client may not publish; nil: it may
	values    context.Context // of what its messages are done under

	// Guarded by socket.mu.
	topics map[string]*place
	ctx    context.Context    // of what its messages are done under; nil before the first
	cancel context.CancelFunc // of it
	gone   bool
}

// serveMany serves many topics on one socket.
func (h *Handler) serveMany(w http.ResponseWriter, r *http.Request) error {
	if offered := websocket.Subprotocols(r); !slices.Contains(offered, protocolJSON) {
		return fairlead.Errorf(fairlead.InvalidArgument, "offer a subprotocol that is spoken here: %s; for one topic open %s/NAME without one", protocolJSON, h.cfg.Prefix)
	}
	s := &socket{}
	s.reader = topic.NewWokenReader(&s.conn)
	s.many = &many{socket: s, publisher: h.mayPublish(nil, r.Header), values: context.Background()}
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

// reply has a message sent.
func (m *many) reply(message []byte) {
	m.mu.Lock()
	m.answer(message)
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
		if r.kind != websocket.Text {
			m.reply(errorReply(nil, fairlead.Errorf(fairlead.InvalidArgument, "%s is spoken in text messages; this one is binary", protocolJSON)))
			continue
		}
		m.handle(ctx, r.text)
	}
}

func (m *many) handle(ctx context.Context, message []byte) {
	var req wire.Request
	if err := json.Unmarshal(message, &req); err != nil {
		m.reply(errorReply(nil, fairlead.Errorf(fairlead.InvalidArgument, "a message is one JSON object, such as {\"id\":1,\"subscribe\":\"name\"}")))
		return
	}
	id, err := checkID(req.ID)
	if err == nil {
		err = oneVerb(&req)
	}
	if err != nil {
		m.reply(errorReply(id, err))
		return
	}
	switch {
	case req.Subscribe != nil:
		m.enter(ctx, id, *req.Subscribe, req.After)
	case req.Unsubscribe != nil:
		m.unsubscribe(id, *req.Unsubscribe)
	case req.Publish != nil:
		m.reply(m.publish(ctx, id, &req))
	case req.Ping:
		m.reply(okReply(id, nil))
	default:
		m.reply(m.ask(ctx, id, req.Request))
	}
}

// checkID returns the id if it can be repeated: a number or a string.
func checkID(id json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(id) == 0 || string(id) == "null":
		return nil, nil
	case len(id) > maxID:
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the id of a message has at most %d bytes", maxID)
	case id[0] == '{' || id[0] == '[' || id[0] == 't' || id[0] == 'f':
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the id of a message is a number or a string")
	}
	return id, nil
}

func oneVerb(r *wire.Request) error {
	n := 0
	for _, is := range []bool{r.Subscribe != nil, r.Unsubscribe != nil, r.Publish != nil, r.Ping, r.Request != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return fairlead.Errorf(fairlead.InvalidArgument, "a message has one of subscribe, unsubscribe, publish, ping and request; this one has %d", n)
	}
	return nil
}

// enter subscribes, and tries again while the topic has its one reader.
func (m *many) enter(ctx context.Context, id json.RawMessage, name string, after fairlead.Cursor) {
	if err := fairlead.CheckTopicName(name); err != nil {
		m.reply(errorReply(id, err))
		return
	}
	for try := 0; ; try++ {
		// The reply goes before the topic's first event, hence under the lock.
		m.mu.Lock()
		reply, err := m.subscribe(id, name, after)
		retry := busy(err) && m.topics[name] == nil && try < busyTries
		if err != nil {
			reply = errorReply(id, err)
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
	start, err := m.join(m.topics, name, after, func() { m.forget(name) })
	if err != nil {
		return nil, err
	}
	return cursorReply(id, start), nil
}

func (m *many) unsubscribe(id json.RawMessage, name string) {
	m.mu.Lock()
	reply := errorReply(id, notSubscribed(name))
	if m.topics[name] != nil {
		m.forget(name)
		reply = okReply(id, nil)
	}
	m.answer(reply)
	m.mu.Unlock()
	m.conn.Wake()
}

// forget leaves a topic. m.mu is held, here and below.
func (m *many) forget(name string) {
	m.reader.Remove(m.topics[name].log)
	delete(m.topics, name)
}

// moved notes where the reader stands in the item's topic.
func (m *many) moved(item *topic.Item) {
	if moveOn(m.topics, item) {
		m.forget(item.Log.Name())
	}
}

func (m *many) cursors() map[string]fairlead.Cursor { return cursorsOf(m.topics) }

// publish waits while a topic makes its publisher wait.
func (m *many) publish(ctx context.Context, id json.RawMessage, req *wire.Request) []byte {
	res, err := m.store(ctx, req)
	code, n := fairlead.Code(""), 0
	if err != nil {
		code = fairlead.AsError(err).Code
	} else if !res.Repeated {
		n = res.Count
	}
	m.h.cfg.Observer.Published(*req.Publish, n, code)
	if err != nil {
		return errorReply(id, err)
	}
	return cursorReply(id, res.Last)
}

func (m *many) store(ctx context.Context, req *wire.Request) (topic.Result, error) {
	if err := m.publisher; err != nil {
		if e := fairlead.AsError(err); e.Code == fairlead.Unauthenticated {
			err = fairlead.Errorf(e.Code, "%s; on a WebSocket it is sent with the handshake", e.Message)
		}
		return topic.Result{}, err
	}
	e, err := eventOf(req)
	if err != nil {
		return topic.Result{}, err
	}
	if int64(len(e.Data)) > m.h.cfg.MaxBody {
		return topic.Result{}, m.h.bodyTooLarge()
	}
	b := topic.Batch{Events: []fairlead.Event{e}, IdempotencyKey: req.IdempotencyKey}
	if len(b.IdempotencyKey) > maxIdempotencyKey {
		return topic.Result{}, fairlead.Errorf(fairlead.InvalidArgument, "an idempotency_key has at most %d bytes", maxIdempotencyKey)
	}
	if b.IdempotencyKey != "" {
		again := *req
		again.ID = nil
		b.Fingerprint = sha256.Sum256(marshal(again))
	}
	return m.h.append(ctx, *req.Publish, b)
}

// ask hands an application's message to OnMessage.
func (m *many) ask(ctx context.Context, id, request json.RawMessage) []byte {
	if m.h.cfg.OnMessage == nil {
		return errorReply(id, fairlead.Errorf(fairlead.InvalidArgument, "this server has no answers to requests of its own"))
	}
	reply, err := m.onMessage(ctx, Message{Request: request, Remote: m.remote})
	switch {
	case err != nil:
		return errorReply(id, err)
	case reply.OK != nil && !(json.Valid(reply.OK) && utf8.Valid(reply.OK)):
		return errorReply(id, fairlead.Errorf(fairlead.Internal, "the application's answer is not JSON in UTF-8"))
	}
	return okReply(id, reply.OK)
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

// okReply returns {"id":…,"ok":…}; nil stands for {}.
func okReply(id, ok json.RawMessage) []byte {
	if ok == nil {
		ok = json.RawMessage("{}")
	}
	return marshal(wire.Message{ID: id, OK: ok})
}

func cursorReply(id json.RawMessage, c fairlead.Cursor) []byte {
	return okReply(id, marshal(struct {
		Cursor fairlead.Cursor `json:"cursor"`
	}{c}))
}

func errorReply(id json.RawMessage, err error) []byte {
	e := fairlead.AsError(err)
	return marshal(wire.Message{ID: id, Error: &wire.Problem{Code: e.Code, Message: e.Message}})
}
