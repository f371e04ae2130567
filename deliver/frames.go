package deliver

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// The wire formats of an event that its readers share: as many as
// topic.MaxFormats, to be raised there for another one.
const (
	formatSSE        topic.Format = iota // with its cursor as id
	formatSSEBare                        // without an id line
	formatSSEJSON                        // an envelope as data, without an id line
	formatJSON                           // an envelope
	formatFrame                          // a WebSocket frame of an envelope
	formatFrameMany                      // a WebSocket frame of {"event":envelope}
	formatSSEChunk                       // formatSSE as a chunk of HTTP/1.1
	formatFrameProto                     // a WebSocket frame of a SessionResponse
)

func encodeSSE(e *fairlead.Event) []byte {
	return mustAppend(e, sse.Event{ID: string(e.Cursor), Type: e.Type, Data: plain(e)})
}

func encodeSSEChunk(e *fairlead.Event) []byte {
	frame := encodeSSE(e)
	return appendChunk(make([]byte, 0, len(frame)+12), frame)
}

func encodeSSEBare(e *fairlead.Event) []byte {
	return mustAppend(e, sse.Event{Type: e.Type, Data: plain(e)})
}

func encodeSSEJSON(e *fairlead.Event) []byte {
	return mustAppend(e, sse.Event{Type: e.Type, Data: encodeJSON(e)})
}

// plain returns the data as an event stream can carry it: the text itself, or
// the envelope of what is not text.
func plain(e *fairlead.Event) []byte {
	if utf8.Valid(e.Data) {
		return e.Data
	}
	return encodeJSON(e)
}

func mustAppend(e *fairlead.Event, s sse.Event) []byte {
	frame, err := sse.Append(make([]byte, 0, len(s.Data)+len(s.ID)+len(s.Type)+32), s)
	if err != nil {
		// A log was given what fairlead.Event.Validate refuses, past publish.
		return sse.AppendComment(nil, "event "+string(e.Cursor)+" has a type that an event stream cannot carry")
	}
	return frame
}

func encodeJSON(e *fairlead.Event) []byte {
	return wire.AppendEnvelope(make([]byte, 0, len(e.Data)+256), e)
}

func encodeFrame(e *fairlead.Event) []byte {
	return websocket.AppendFrame(nil, websocket.Text, encodeJSON(e))
}

func encodeFrameMany(e *fairlead.Event) []byte {
	return websocket.AppendFrame(nil, websocket.Text, asMember("event", encodeJSON(e)))
}

// envelope returns an item's event as an envelope, which says how many events
// the policy passed over before it.
func envelope(item *topic.Item) []byte {
	shared := item.Record.Frame(formatJSON, encodeJSON)
	if item.Skipped == 0 {
		return shared
	}
	own := make([]byte, 0, len(shared)+32)
	own = append(own, shared[:len(shared)-1]...)
	own = strconv.AppendUint(append(own, `,"skipped":`...), item.Skipped, 10)
	return append(own, '}')
}

// asMember returns {"name":value}.
func asMember(name string, value []byte) []byte {
	b := make([]byte, 0, len(name)+len(value)+8)
	b = append(append(b, `{"`...), name...)
	b = append(append(b, `":`...), value...)
	return append(b, '}')
}

// control returns the type of an item that is no event, as the member that
// JSON has for it, and its payload. name is the topic, where it must be said.
func control(item *topic.Item, name string) (typ, member string, payload []byte) {
	var v any
	switch item.Kind {
	case topic.KindGap:
		typ, member, v = fairlead.TypeGap, "gap", gapOf(item, name)
	case topic.KindFault:
		typ, member = fairlead.TypeFault, "fault"
		v = wire.Fault{Topic: name, Cursor: item.Cursor, Code: item.Fault.Code, Message: item.Fault.Message}
	case topic.KindLag:
		typ, member = fairlead.TypeFault, "fault"
		v = wire.Fault{Topic: name, Cursor: item.Cursor, Code: fairlead.TooSlow, Message: errTooSlow.Message}
	default:
		typ, member, v = fairlead.TypeEnd, "end", wire.End{Topic: name, Cursor: item.Cursor}
	}
	return typ, member, marshal(v)
}

var errTooSlow = fairlead.Errorf(fairlead.TooSlow, "the reader fell behind what is retained, and this topic skips nothing silently: come back with your cursor to be told the gap")

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return b
}
