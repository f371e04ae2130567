package wire

import (
	"encoding/json"

	"github.com/fairlead-edge/fairlead"
)

// Gap says that events were missed: the data of a fairlead.gap event, and the
// member "gap".
type Gap struct {
	Topic    string          `json:"topic,omitempty"`
	After    fairlead.Cursor `json:"after"`
	Earliest fairlead.Cursor `json:"earliest"`
	// Skipped is how many events were missed; null when nobody knows.
	Skipped *uint64 `json:"skipped"`
}

// End says that a topic was closed: the data of a fairlead.end event, and the
// member "end".
type End struct {
	Topic  string          `json:"topic,omitempty"`
	Cursor fairlead.Cursor `json:"cursor,omitempty"`
}

// Fault says that the source of a topic broke: the data of a fairlead.fault
// event, and the member "fault".
type Fault struct {
	Topic   string          `json:"topic,omitempty"`
	Cursor  fairlead.Cursor `json:"cursor,omitempty"`
	Code    fairlead.Code   `json:"code"`
	Message string          `json:"message"`
}

// Err returns the fault as an error.
func (f *Fault) Err() *fairlead.Error {
	code := f.Code
	if code == "" {
		code = fairlead.Fault
	}
	return fairlead.Errorf(code, "%s", f.Message)
}

// Draining says that the server is going away: the data of a fairlead.draining
// event, and the member "draining".
type Draining struct {
	RetryAfterMS int64 `json:"retry_after_ms"`
	// Cursors is where to go on, by topic; on WebSockets.
	Cursors map[string]fairlead.Cursor `json:"cursors,omitempty"`
}

// Page is a JSON page as it is read.
type Page struct {
	Events  []Envelope      `json:"events"`
	Next    fairlead.Cursor `json:"next"`
	Closed  bool            `json:"closed"`
	Skipped uint64          `json:"skipped,omitempty"`
	Gap     *Gap            `json:"gap,omitempty"`
	End     *End            `json:"end,omitempty"`
	Fault   *Fault          `json:"fault,omitempty"`
}

// Request is a client's message in the subprotocol fairlead.v1.json: one of
//
//	{"id":1,"subscribe":"name","after":"…"}
//	{"id":2,"unsubscribe":"name"}
//	{"id":3,"publish":"name","data":…,"key":…}
//	{"id":4,"ping":true}
//	{"id":5,"window":100}
//	{"id":6,"acknowledge":"name","cursor":"…"}
//	{"id":7,"request":…}
type Request struct {
	// ID is any JSON number or string; the reply repeats it.
	ID          json.RawMessage `json:"id,omitempty"`
	Subscribe   *string         `json:"subscribe,omitempty"`
	Unsubscribe *string         `json:"unsubscribe,omitempty"`
	Publish     *string         `json:"publish,omitempty"`
	Ping        bool            `json:"ping,omitempty"`
	Acknowledge *string         `json:"acknowledge,omitempty"`
	Window      *int            `json:"window,omitempty"`
	Request     json.RawMessage `json:"request,omitempty"`

	After  fairlead.Cursor `json:"after,omitempty"`  // of subscribe
	Cursor fairlead.Cursor `json:"cursor,omitempty"` // of acknowledge; an event that is published has none yet

	// Of publish, as in an envelope.
	Type           string            `json:"type,omitempty"`
	Key            string            `json:"key,omitempty"`
	ContentType    string            `json:"content_type,omitempty"`
	Time           string            `json:"time,omitempty"` // RFC 3339
	Traceparent    string            `json:"traceparent,omitempty"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	Critical       bool              `json:"critical,omitempty"`
	Data           json.RawMessage   `json:"data,omitempty"`
	Base64         []byte            `json:"data_base64,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
}

// Message is a server's message on a WebSocket. Without a subprotocol it is an
// envelope or a control member; in fairlead.v1.json it has one of these.
type Message struct {
	ID       json.RawMessage `json:"id,omitempty"`
	OK       json.RawMessage `json:"ok,omitempty"`
	Error    *Problem        `json:"error,omitempty"`
	Event    *Envelope       `json:"event,omitempty"`
	Gap      *Gap            `json:"gap,omitempty"`
	End      *End            `json:"end,omitempty"`
	Fault    *Fault          `json:"fault,omitempty"`
	Draining *Draining       `json:"draining,omitempty"`
}

// Problem is the error of a Message.
type Problem struct {
	Code    fairlead.Code `json:"code"`
	Message string        `json:"message"`
}
