package deliver

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
)

// Config adjusts a Handler. The zero value serves an empty store to which
// nothing can be published.
type Config struct {
	// Topics are what is served. Default: a new store with its defaults.
	Topics *topic.Store
	// Prefix is the path of the resource. Default "/topics".
	Prefix string
	// AllowPublish lets anybody publish and delete who can reach the handler,
	// when there is no PublishToken. Default: nobody can. See [Handler.LetPublish].
	AllowPublish bool
	// PublishToken is what a publisher must send as "Authorization: Bearer
	// TOKEN". Default none: see AllowPublish.
	PublishToken string
	// Origins are the web origins, such as "https://app.example", whose pages
	// may use the resource beside its own; "*" stands for all. Default none.
	Origins []string
	// Heartbeat is how long a session may be silent before it is sent a sign of
	// life, give or take a tenth. Default 15 s.
	Heartbeat time.Duration
	// MaxBody is the largest body of a publish, in bytes. Default 1 MiB.
	MaxBody int64
	// MaxTopics is the most topics of one WebSocket; of one SSE stream it is
	// at most 100, whose cursors must fit in a header. Default 1000.
	MaxTopics int
	// MaxMessage is the largest WebSocket message of a client, in bytes.
	// Default 1 MiB.
	MaxMessage int64
	// WriteTimeout is how long a write to a reader may stall before its
	// connection is reset, and a body may stall before its publish is refused.
	// Default 30 s.
	WriteTimeout time.Duration
	// SlowAfter is how long a reader may fall further behind before
	// [Handler.FindSlow] sends it away. Default 60 s; negative: for ever.
	SlowAfter time.Duration
	// OnMessage answers an application's own messages in fairlead.v1.json,
	// {"id":5,"request":…}. Nothing more is read from the connection meanwhile; ctx
	// has the values of the handshake's and ends with the connection. What it panics with becomes an error of code Internal. Default:
	// such messages are errors.
	OnMessage func(ctx context.Context, m Message) (Reply, error)
	// Engine serves the subscribers on plain HTTP/1.1, taking their connections
	// from net/http. nil: each is served by a goroutine, as all others are.
	Engine *fanout.Engine
	// Take is called when the connection of a request, over plain HTTP/1.1, is
	// taken from net/http; the handler returns soon after. What it returns is told
	// when the connection has been closed, for what else is done at the end of a
	// response. It must not keep the request, which is large. It may return nil, as
	// by default.
	Take func(r *http.Request) Lease
	// Stay is called when a session of an event stream or a WebSocket is served by the
	// handler of its request instead. What it returns is told of the session's end
	// before the handler returns. It may return nil, as by default.
	Stay func(r *http.Request) Lease
	// Observer is told what happens.
	Observer Observer
	// Tracer makes spans of it.
	Tracer Tracer
}

// Message is an application's own message from a client.
type Message struct {
	// Request is the message's member "request", any JSON value.
	Request json.RawMessage
	// Remote is the address of the client's connection.
	Remote string
}

// Reply answers a Message.
type Reply struct {
	// OK is the member "ok" of the answer: JSON, or nil for {}.
	OK json.RawMessage
}

// Lease is told when a session has ended.
type Lease interface {
	Ended(why Ended)
}

// Observer has functions for metrics and logs. Each may be nil, and must not
// block.
type Observer struct {
	// Opened is called when a session begins; transport is TransportSSE and so on.
	Opened func(transport string)
	// Closed is called when a session has ended.
	Closed func(Ended)
	// Published is called after each publish that reached a topic's name, with
	// how many events were stored and the code of the refusal, "" for none.
	Published func(topic string, events int, result fairlead.Code)
	// Missed is called when a reader of the topic is told that its policy passed over
	// events, or that there is a gap. Locks of the session are held.
	Missed func(Missed)
	// Established is called when a session has the first byte for its client: of an
	// event stream, the answer to a WebSocket's handshake, or what a Feed's first
	// subscription answers. took is from its request. Of pages it is not called. Locks of
	// the session may be held.
	Established func(transport string, took time.Duration)
	// Began is called after Opened, with how the session begins: ResumedNot from a
	// word or none, ResumedFrom a cursor; and again, before its first event, when that
	// cursor came to a gap: ResumedGap, or ResumedUnknown where it is of another life of
	// the topic. Locks of the session may be held.
	Began func(transport, how string)
	// Delivered is called when a session gives events to its connection, once for what
	// goes there together. Locks of the session are held.
	Delivered func(Delivery)
	// Typed is called after Delivered for each run of events of one type, with the bytes
	// of their data.
	Typed func(transport, typ string, events, bytes int)
	// Message is called for what else goes over a connection: sent, or received, of
	// one of the kinds below, with its size in bytes. Locks of the session may be held.
	Message func(transport, kind string, sent bool, size int)
	// Answered is called with how long a client's message of the kind took from its
	// arrival to its answer, the waiting for a worker and for room in a topic included.
	Answered func(transport, kind string, took time.Duration)
	// Refused is called when the answer to a client's message of the kind is an error.
	Refused func(transport, kind string, code fairlead.Code)
	// Echoed is called with the time from a WebSocket's ping, or an event that was sent
	// after it, to its pong.
	Echoed func(took time.Duration)
	// Failed is called when a WebSocket's client broke the protocol, with the code of
	// the close that tells it (RFC 6455, section 7.4.1).
	Failed func(code int)
	// Panicked is called with what Config.OnMessage or a session panicked with.
	Panicked func(value any, stack []byte)
}

// Delivery is what a session gave at one time.
type Delivery struct {
	Transport string
	Events    int
	Bytes     int // of them, as they are sent
	// Delay is from the append of the oldest of them that was appended since the session
	// began; negative where none was: what is replayed is not late.
	Delay time.Duration
	// Age is the same from that event's own time, where its publisher gave one; else
	// negative.
	Age time.Duration
	// First is from the session's request, of its first events; else negative.
	First time.Duration
	// Gap is from the session's events before, in whole milliseconds; negative where there
	// were none.
	Gap time.Duration
}

// Missed is what a reader is told that it is not given.
type Missed struct {
	Transport string
	Topic     string
	Skipped   uint64 // events that the topic's policy passed over
	Gap       bool
	Lost      uint64 // of the gap: events that are no longer retained, where that is known
}

// How a session begins.
const (
	ResumedNot     = "not"
	ResumedFrom    = "cursor"
	ResumedGap     = "gap"
	ResumedUnknown = "unknown"
)

// The kinds of messages that are no events. Of an application's requests, and of a
// client's commands, each has one answer.
const (
	KindSubscribe   = "subscribe"
	KindUnsubscribe = "unsubscribe"
	KindPublish     = "publish"
	KindAcknowledge = "acknowledge"
	KindWindow      = "window"
	KindPing        = "ping"      // of a client's or of ours; heartbeats of event streams too
	KindPong        = "pong"      // that answers a WebSocket's ping
	KindRequest     = "request"   // for Config.OnMessage
	KindAnswer      = "answer"    // to a command
	KindControl     = "control"   // gap, end, fault, draining, and where a stream begins
	KindMalformed   = "malformed" // not understood, and answered with an error
)

// The transports of a session.
const (
	TransportSSE       = "sse"
	TransportWebSocket = "websocket"
	TransportPoll      = "poll"
	TransportGRPC      = "grpc" // of a Feed, as are the following
	TransportGRPCWeb   = "grpcweb"
	TransportConnect   = "connect"
)

// Ended describes a session that is over.
type Ended struct {
	Transport string
	Remote    string // address of the client's connection
	// Reason is why it ended: "" as it should, Cancelled because the reader left,
	// TooSlow, DeadlineExceeded because it fell silent, Draining, Fault ….
	Reason  fairlead.Code
	Resumed bool          // it had begun from a cursor
	Events  uint64        // sent
	Bytes   uint64        // sent, before any framing of HTTP's
	Skipped uint64        // events passed over by delivery policies
	Gaps    uint64        // told
	Lasted  time.Duration // from its request
}

func (c Config) withDefaults() Config {
	if c.Topics == nil {
		c.Topics = topic.NewStore(topic.StoreConfig{})
	}
	if c.Prefix == "" {
		c.Prefix = "/topics"
	}
	if c.Prefix = strings.Trim(c.Prefix, "/"); c.Prefix != "" {
		c.Prefix = "/" + c.Prefix
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxTopics <= 0 {
		c.MaxTopics = 1000
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = 1 << 20
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if c.SlowAfter == 0 {
		c.SlowAfter = time.Minute
	}
	if c.Take == nil {
		c.Take = func(*http.Request) Lease { return nil }
	}
	if c.Stay == nil {
		c.Stay = func(*http.Request) Lease { return nil }
	}
	if c.Observer.Opened == nil {
		c.Observer.Opened = func(string) {}
	}
	if c.Observer.Closed == nil {
		c.Observer.Closed = func(Ended) {}
	}
	if c.Observer.Published == nil {
		c.Observer.Published = func(string, int, fairlead.Code) {}
	}
	if c.Observer.Missed == nil {
		c.Observer.Missed = func(Missed) {}
	}
	if c.Observer.Established == nil {
		c.Observer.Established = func(string, time.Duration) {}
	}
	if c.Observer.Began == nil {
		c.Observer.Began = func(string, string) {}
	}
	if c.Observer.Answered == nil {
		c.Observer.Answered = func(string, string, time.Duration) {}
	}
	if c.Observer.Refused == nil {
		c.Observer.Refused = func(string, string, fairlead.Code) {}
	}
	if c.Observer.Echoed == nil {
		c.Observer.Echoed = func(time.Duration) {}
	}
	if c.Observer.Failed == nil {
		c.Observer.Failed = func(int) {}
	}
	if c.Observer.Panicked == nil {
		c.Observer.Panicked = func(any, []byte) {}
	}
	return c
}
