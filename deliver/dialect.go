package deliver

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// The subprotocols with many topics on one socket.
const (
	protocolJSON  = "fairlead.v1.json"
	protocolProto = "fairlead.v1.proto"
)

// dialect is how a subprotocol says what all of them say. What it returns are
// WebSocket frames.
type dialect interface {
	// parse reads a client's message. With an error, it returns the id at least, if
	// there is one.
	parse(m received) (asked, error)
	// ok answers that it was done; at may be empty.
	ok(id json.RawMessage, at fairlead.Cursor) []byte
	// problem answers that it was not.
	problem(id json.RawMessage, err error) []byte
	// item is what comes of a topic.
	item(i *topic.Item) []byte
	// draining is the advice to come back later.
	draining(d wire.Draining) []byte
}

var dialects = map[string]dialect{protocolJSON: jsonDialect{}, protocolProto: protoDialect{}}

// pickDialect returns the first subprotocol that the client offers and that is
// spoken here; "" for none.
func pickDialect(r *http.Request) string {
	offered := websocket.Subprotocols(r)
	i := slices.IndexFunc(offered, func(name string) bool { return dialects[name] != nil })
	if i < 0 {
		return ""
	}
	return offered[i]
}

// asked is what a client's message asks for.
type asked struct {
	id      json.RawMessage // a number or a string; nil: none
	verb    verb
	topic   string
	cursor  fairlead.Cursor // of toSubscribe and toAcknowledge
	batch   topic.Batch     // of toPublish
	window  int             // of toSetWindow
	request json.RawMessage // of toAsk
}

type verb uint8

const (
	toSubscribe verb = iota
	toUnsubscribe
	toPublish
	toPing
	toAcknowledge
	toSetWindow
	toAsk
)
