package deliver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// jsonDialect is fairlead.v1.json: one JSON object a message.
type jsonDialect struct{}

// maxID is the longest id of a client's message, in bytes of JSON.
const maxID = 256

func (jsonDialect) parse(m received) (a asked, err error) {
	if m.kind != websocket.Text {
		return a, fairlead.Errorf(fairlead.InvalidArgument, "%s is spoken in text messages; this one is binary", protocolJSON)
	}
	var req wire.Request
	if err := json.Unmarshal(m.text, &req); err != nil {
		a.id, _ = checkID(req.ID) // which is read although another member is wrong
		return a, wrongJSON(err)
	}
	if a.id, err = checkID(req.ID); err != nil {
		return a, err
	}
	if err := oneVerb(&req); err != nil {
		return a, err
	}
	switch {
	case req.Subscribe != nil:
		a.verb, a.topic, a.cursor = toSubscribe, *req.Subscribe, req.After
	case req.Unsubscribe != nil:
		a.verb, a.topic = toUnsubscribe, *req.Unsubscribe
	case req.Publish != nil:
		a.verb, a.topic = toPublish, *req.Publish
		a.batch, err = batchOf(&req)
	case req.Ping:
		a.verb = toPing
	case req.Acknowledge != nil:
		a.verb, a.topic, a.cursor = toAcknowledge, *req.Acknowledge, req.Cursor
	case req.Window != nil:
		a.verb, a.window = toSetWindow, *req.Window
	default:
		a.verb, a.request = toAsk, req.Request
	}
	return a, err
}

// wrongJSON says what of a message cannot be read.
func wrongJSON(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && t.Field != "" {
		return fairlead.Errorf(fairlead.InvalidArgument, "the member %q of a message cannot be a %s", t.Field, t.Value)
	}
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return fairlead.Errorf(fairlead.InvalidArgument, "data_base64 is not base64 (RFC 4648 section 4)")
	}
	return fairlead.Errorf(fairlead.InvalidArgument, "a message is one JSON object, such as {\"id\":1,\"subscribe\":\"name\"}")
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
	for _, is := range []bool{r.Subscribe != nil, r.Unsubscribe != nil, r.Publish != nil, r.Ping, r.Acknowledge != nil, r.Window != nil, r.Request != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return fairlead.Errorf(fairlead.InvalidArgument,
			"a message has one of subscribe, unsubscribe, publish, ping, acknowledge, window and request; this one has %d", n)
	}
	return nil
}

// batchOf returns what a message publishes.
func batchOf(req *wire.Request) (topic.Batch, error) {
	if req.Cursor != "" {
		return topic.Batch{}, withCursor()
	}
	e, err := eventOf(req)
	if err != nil {
		return topic.Batch{}, err
	}
	b := topic.Batch{Events: []fairlead.Event{e}, IdempotencyKey: req.IdempotencyKey}
	if b.IdempotencyKey != "" {
		again := *req
		again.ID = nil
		b.Fingerprint = sha256.Sum256(marshal(again))
	}
	return b, nil
}

func (jsonDialect) ok(id json.RawMessage, at fairlead.Cursor) []byte {
	if at == "" {
		return textFrame(okReply(id, nil))
	}
	return textFrame(okReply(id, marshal(struct {
		Cursor fairlead.Cursor `json:"cursor"`
	}{at})))
}

func (jsonDialect) problem(id json.RawMessage, err error) []byte {
	return textFrame(errorReply(id, err))
}

func (jsonDialect) item(i *topic.Item) []byte {
	switch {
	case i.Kind != topic.KindEvent:
		_, member, payload := control(i, i.Log.Name())
		return textFrame(asMember(member, payload))
	case i.Skipped > 0:
		return textFrame(asMember("event", envelope(i)))
	}
	return i.Record.Frame(formatFrameMany, encodeFrameMany)
}

func (jsonDialect) draining(d wire.Draining) []byte {
	return textFrame(asMember("draining", marshal(d)))
}

func textFrame(message []byte) []byte { return websocket.AppendFrame(nil, websocket.Text, message) }

// okReply returns {"id":…,"ok":…}; nil stands for {}.
func okReply(id, ok json.RawMessage) []byte {
	if ok == nil {
		ok = json.RawMessage("{}")
	}
	return marshal(wire.Message{ID: id, OK: ok})
}

func errorReply(id json.RawMessage, err error) []byte {
	e := fairlead.AsError(err)
	return marshal(wire.Message{ID: id, Error: &wire.Problem{Code: e.Code, Message: e.Message}})
}
