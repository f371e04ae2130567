package deliver

import (
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// protoDialect is fairlead.v1.proto: the messages of the call Session, one a binary
// message.
type protoDialect struct{}

func (protoDialect) parse(m received) (a asked, err error) {
	if m.kind != websocket.Binary {
		return a, fairlead.Errorf(fairlead.InvalidArgument, "%s is spoken in binary messages; this one is text", protocolProto)
	}
	var req fairleadv1.SessionRequest
	if err := proto.Unmarshal(m.text, &req); err != nil {
		return a, fairlead.Errorf(fairlead.InvalidArgument, "the message is not a fairlead.v1.SessionRequest")
	}
	if id := req.GetId(); id != 0 {
		a.id = strconv.AppendUint(nil, id, 10)
	}
	switch what := req.GetAction().(type) {
	case *fairleadv1.SessionRequest_Subscribe_:
		a.verb, a.topic, a.cursor = toSubscribe, what.Subscribe.GetTopic(), fairlead.Cursor(what.Subscribe.GetAfter())
	case *fairleadv1.SessionRequest_Unsubscribe_:
		a.verb, a.topic = toUnsubscribe, what.Unsubscribe.GetTopic()
	case *fairleadv1.SessionRequest_Publish:
		a.verb, a.topic = toPublish, what.Publish.GetTopic()
		a.batch, err = BatchOf(what.Publish)
	case *fairleadv1.SessionRequest_Ping_:
		a.verb = toPing
	case *fairleadv1.SessionRequest_Acknowledge_:
		a.verb, a.topic, a.cursor = toAcknowledge, what.Acknowledge.GetTopic(), fairlead.Cursor(what.Acknowledge.GetCursor())
	case *fairleadv1.SessionRequest_Window_:
		a.verb, a.window = toSetWindow, int(what.Window.GetEvents())
	default:
		err = fairlead.Errorf(fairlead.InvalidArgument, "the message has no action that is known here")
	}
	return a, err
}

// BatchOf returns what the message publishes, or an error of code InvalidArgument.
// It shares the message's data.
func BatchOf(req *fairleadv1.PublishRequest) (topic.Batch, error) {
	b := topic.Batch{IdempotencyKey: req.GetIdempotencyKey(), Close: req.GetClose()}
	if len(req.GetEvents()) == 0 && !b.Close {
		return b, fairlead.Errorf(fairlead.InvalidArgument, "there is nothing to publish: add an event, or close")
	}
	for _, m := range req.GetEvents() {
		if at := m.GetTopic(); at != "" && at != req.GetTopic() {
			return b, fairlead.Errorf(fairlead.InvalidArgument, "an event names the topic %q and is published to %q: leave its topic empty", at, req.GetTopic())
		}
		if m.GetCursor() != "" {
			return b, withCursor()
		}
		if at := m.GetTime(); at != nil && !at.IsValid() {
			return b, wrongTime()
		}
		b.Events = append(b.Events, wire.FromProto(m))
	}
	if b.IdempotencyKey != "" {
		again := &fairleadv1.PublishRequest{Topic: req.GetTopic(), Events: req.GetEvents(), Close: b.Close}
		b.Fingerprint = sha256.Sum256(marshalProto(again))
	}
	return b, nil
}

func withCursor() error {
	return fairlead.Errorf(fairlead.InvalidArgument, "an event that is published has no cursor yet: leave it empty")
}

func wrongTime() error {
	return fairlead.Errorf(fairlead.InvalidArgument, "an event's time is one of the years 1 to 9999, in JSON as RFC 3339 writes it")
}

func (protoDialect) ok(id json.RawMessage, at fairlead.Cursor) []byte {
	return answerFrame(id, &fairleadv1.SessionResponse{
		Message: &fairleadv1.SessionResponse_Ok_{Ok: &fairleadv1.SessionResponse_Ok{Cursor: string(at)}},
	})
}

func (protoDialect) problem(id json.RawMessage, err error) []byte {
	e := fairlead.AsError(err)
	m := &fairleadv1.SessionResponse_Error{Code: string(e.Code), Message: e.Message}
	if e.RetryAfter > 0 {
		m.RetryAfter = durationpb.New(e.RetryAfter)
	}
	return answerFrame(id, &fairleadv1.SessionResponse{Message: &fairleadv1.SessionResponse_Error_{Error: m}})
}

func (protoDialect) item(i *topic.Item) []byte {
	if i.Kind == topic.KindEvent && i.Skipped == 0 {
		return i.Record.Frame(formatFrameProto, encodeFrameProto)
	}
	return binaryFrame(ToSession(i))
}

func (protoDialect) draining(d wire.Draining) []byte {
	return binaryFrame(&fairleadv1.SessionResponse{Message: &fairleadv1.SessionResponse_Draining_{Draining: ToDraining(d.RetryAfterMS, d.Cursors)}})
}

func encodeFrameProto(e *fairlead.Event) []byte {
	return binaryFrame(&fairleadv1.SessionResponse{Message: &fairleadv1.SessionResponse_Event{Event: wire.ToProto(e)}})
}

func answerFrame(id json.RawMessage, m *fairleadv1.SessionResponse) []byte {
	m.Id, _ = strconv.ParseUint(string(id), 10, 64) // it is one, or none
	return binaryFrame(m)
}

func binaryFrame(m *fairleadv1.SessionResponse) []byte {
	return websocket.AppendFrame(nil, websocket.Binary, marshalProto(m))
}

// marshalProto returns the same bytes for the same message, as a fingerprint needs.
func marshalProto(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // of strings that are not UTF-8, which no event has
	}
	return b
}

// ToSession returns an item as a message of a session. One of KindLag is a fault of
// code TooSlow.
func ToSession(i *topic.Item) *fairleadv1.SessionResponse {
	m := &fairleadv1.SessionResponse{Skipped: i.Skipped}
	name, at := i.Log.Name(), string(i.Cursor)
	fault := func(code fairlead.Code, message string) {
		m.Message = &fairleadv1.SessionResponse_Fault_{Fault: &fairleadv1.SessionResponse_Fault{Topic: name, Cursor: at, Code: string(code), Message: message}}
	}
	switch i.Kind {
	case topic.KindEvent:
		m.Message = &fairleadv1.SessionResponse_Event{Event: wire.ToProto(&i.Record.Event)}
	case topic.KindGap:
		m.Message = &fairleadv1.SessionResponse_Gap{Gap: ToGap(i)}
	case topic.KindFault:
		fault(i.Fault.Code, i.Fault.Message)
	case topic.KindLag:
		fault(errTooSlow.Code, errTooSlow.Message)
	default:
		m.Message = &fairleadv1.SessionResponse_End_{End: &fairleadv1.SessionResponse_End{Topic: name, Cursor: at}}
	}
	return m
}

// ToGap returns the gap of an item of KindGap.
func ToGap(i *topic.Item) *fairleadv1.Gap {
	g := &fairleadv1.Gap{Topic: i.Log.Name(), After: string(i.Gap.After), Earliest: string(i.Gap.Earliest)}
	if skipped := i.Gap.Skipped; !i.Gap.Unknown {
		g.Skipped = &skipped
	}
	return g
}

// ToDraining returns the advice to come back later, from the cursors by topic.
func ToDraining(retryAfterMS int64, cursors map[string]fairlead.Cursor) *fairleadv1.SessionResponse_Draining {
	d := &fairleadv1.SessionResponse_Draining{
		RetryAfter: durationpb.New(time.Duration(retryAfterMS) * time.Millisecond), Cursors: make(map[string]string, len(cursors)),
	}
	for name, c := range cursors {
		d.Cursors[name] = string(c)
	}
	return d
}
