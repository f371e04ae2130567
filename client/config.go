package client

import (
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// Transport is how a subscription reaches the server.
type Transport string

// The transports. All of them use the same cursors.
const (
	SSE       Transport = "sse"
	WebSocket Transport = "ws"
	Poll      Transport = "poll"
	// GRPC calls fairlead.v1.Topics over HTTP/2, without TLS for http://, at the
	// host of the URL, whose path must be /topics/ and the topic's name. Of its
	// parameters, after, last_event_id and gap=fail count.
	GRPC Transport = "grpc"
)

// Config is how to subscribe and publish; the zero value is ready to use.
type Config struct {
	// Transport is how to read; default SSE.
	Transport Transport
	// After is where to start: a cursor, or earliest, latest or snapshot.
	// Empty: what the server does by default.
	After fairlead.Cursor
	// HTTP makes the requests; default http.DefaultClient. It must not have a
	// Timeout, which would cut streams. WebSockets are dialled with its
	// *http.Transport's DialContext and TLSClientConfig, and through no proxy. Each
	// call of gRPC has a connection of its own, made as its *http.Transport would;
	// another RoundTripper must speak HTTP/2 itself.
	HTTP *http.Client
	// Header is sent with every request.
	Header http.Header
	// Token is sent as the bearer token of every request, if not empty.
	Token string
	// MinBackoff and MaxBackoff bound the delay before connecting again; it
	// doubles with each failure and is drawn at random from the half below
	// that. A longer one that the server asks for is kept, up to an hour, and up
	// to half of it added at random. A connection that yielded an item with a new
	// cursor is no failure: the delay after it is the one that the server asked
	// for, or MinBackoff, and the next failure doubles what the last one waited.
	// Default 500 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// StableAfter is how long a connection must have lived for the delay to
	// start small again; merely being accepted is not enough, nor are items.
	// Default 10 s.
	StableAfter time.Duration
	// IdleTimeout is how long the server may send nothing at all, be it a
	// heartbeat, while the reader waits for it, until the connection counts as
	// dead; and how long it may take to answer a publish. Default 45 s, three
	// heartbeats.
	IdleTimeout time.Duration
	// MaxEvent is the largest event or message read, in bytes; default 1 MiB
	// of data and what its envelope adds.
	MaxEvent int64
	// OnRetry, if set, is told why a connection ended and the delay before the
	// next. It is called by the goroutine that reads or publishes.
	OnRetry func(err error, delay time.Duration)
}

func (c Config) withDefaults() Config {
	if c.Transport == "" {
		c.Transport = SSE
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	if c.MinBackoff <= 0 {
		c.MinBackoff = 500 * time.Millisecond
	}
	if c.MaxBackoff <= 0 {
		c.MaxBackoff = 30 * time.Second
	}
	if c.StableAfter <= 0 {
		c.StableAfter = 10 * time.Second
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 45 * time.Second
	}
	if c.MaxEvent <= 0 {
		c.MaxEvent = 4 << 20 // base64 and JSON escapes of 1 MiB
	}
	return c
}

// Kind says what an Item is.
type Kind uint8

// The kinds of items.
const (
	KindEvent Kind = iota // Event holds it
	KindGap               // events were missed: Gap
	KindEnd               // the stream is complete; the last item
	KindFault             // the stream's source broke: Fault; the last item
)

// Item is what a subscription yields.
type Item struct {
	Kind Kind
	// Cursor is where to go on after the item: Config.After of another
	// subscription, on any transport. After a gap it may be where the reader was,
	// from where it is told of the gap again. Empty: the stream has no ids.
	Cursor fairlead.Cursor
	// Event is the event, for KindEvent. Over SSE only its Type, Cursor and Data
	// are known if the URL is not a topic's and has no ?format=envelope. An
	// envelope that cannot be read is an event with its text as Data.
	Event fairlead.Event
	// Skipped counts events that the topic's policy passed over before this one,
	// as far as its envelope tells.
	Skipped uint64
	// Gap is for KindGap.
	Gap Gap
	// Fault is for KindFault.
	Fault *fairlead.Error
}

// Gap says that events were missed because they are no longer retained.
type Gap struct {
	After    fairlead.Cursor // where the reader was
	Earliest fairlead.Cursor // the oldest event retained
	Skipped  int64           // how many were missed; -1 when nobody knows
}
