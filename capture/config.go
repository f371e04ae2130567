package capture

import (
	"fmt"
	"strings"
	"time"
)

// Prefix is the path under which a [Store] serves its streams.
const Prefix = "/.well-known/fairlead/streams"

// Record says which responses are captured.
type Record uint8

// What a route records. Responses marked public or s-maxage, upgrades and gRPC
// are never captured, nor are those of a status other than 200 to 299.
const (
	Events Record = iota // responses of type text/event-stream
	All                  // those, and any other body of unknown length
	Off                  // nothing
)

// ParseRecord reads off, events or all.
func ParseRecord(s string) (Record, error) {
	switch s {
	case "off":
		return Off, nil
	case "events":
		return Events, nil
	case "all":
		return All, nil
	}
	return 0, fmt.Errorf("capture: record %q: want off, events or all", s)
}

// OnDisconnect says what becomes of the upstream call when its last reader
// has left: a positive value is for how long it is kept.
type OnDisconnect time.Duration

// What happens when nobody reads a stream any more.
const (
	// Default is Cancel, except that a safe request for text/event-stream and
	// one with an Idempotency-Key linger for 60 seconds.
	Default OnDisconnect = 0
	// Cancel cancels the upstream call at once.
	Cancel OnDisconnect = -1
	// Continue lets the upstream finish.
	Continue OnDisconnect = -2
)

// Linger keeps the upstream call for d after the last reader left; for d of
// zero or less it is Cancel.
func Linger(d time.Duration) OnDisconnect {
	if d <= 0 {
		return Cancel
	}
	return OnDisconnect(d)
}

// defaultLinger is how long those linger that do so by default: longer than a
// change of network or a reload of a page takes.
const defaultLinger = OnDisconnect(60 * time.Second)

// ParseOnDisconnect reads cancel, continue, or linger and a duration.
func ParseOnDisconnect(s string) (OnDisconnect, error) {
	word, rest, _ := strings.Cut(s, " ")
	switch {
	case s == "cancel":
		return Cancel, nil
	case s == "continue":
		return Continue, nil
	case word == "linger":
		if d, err := time.ParseDuration(strings.TrimSpace(rest)); err == nil && d > 0 {
			return Linger(d), nil
		}
	}
	return 0, fmt.Errorf("capture: on_disconnect %q: want cancel, continue, or linger and a duration such as linger 60s", s)
}

// Config is how one route is captured. The zero value is the default.
type Config struct {
	// Record says which responses are captured; default Events.
	Record Record
	// OnDisconnect says what the leaving of the last reader means for the
	// upstream call; see Default.
	OnDisconnect OnDisconnect
	// Owner lists what together identifies a caller. Empty: the Authorization
	// header of a request that has one.
	Owner []Identity
	// CommitAfter is when the response to a request for an event stream is
	// begun although the upstream has not answered yet: one whose Accept names
	// text/event-stream, or whose JSON body has "stream": true. After that an
	// answer that is no event stream is a fault. 0: never.
	CommitAfter time.Duration
	// EndFinal answers a reconnect past the end of a stream with 204, which
	// stops an EventSource. false: it goes upstream.
	EndFinal bool
	// MaxEvent is the largest event, in bytes; a larger one is a fault.
	// Default 1 MiB.
	MaxEvent int64
	// Heartbeat is how long a reader of an event stream hears nothing before
	// it gets a comment; default 15 s.
	Heartbeat time.Duration
}

func (c Config) withDefaults() *Config {
	if c.MaxEvent <= 0 {
		c.MaxEvent = 1 << 20
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 15 * time.Second
	}
	return &c
}

// StoreConfig bounds what a Store holds. The zero value is the default.
type StoreConfig struct {
	// StreamBytes bounds one stream; a live one over it loses its oldest part.
	// Bodies are counted, and 256 bytes an event. Default 16 MiB.
	StreamBytes int64
	// TotalBytes bounds all streams together: finished ones are evicted first,
	// oldest first; then live ones lose their oldest part, the largest first.
	// Default 1 GiB.
	TotalBytes int64
	// Keep is how long a stream is kept after its end; default 10 minutes.
	Keep time.Duration
	// Streams bounds the number of streams. When all are live, a further
	// response passes without being captured. Default 100,000.
	Streams int
	// Patience is how long a reader that does not read at all holds back the
	// upstream of a stream whose log is full; default 30 s.
	Patience time.Duration
}

func (c StoreConfig) withDefaults() StoreConfig {
	if c.StreamBytes <= 0 {
		c.StreamBytes = 16 << 20
	}
	if c.TotalBytes <= 0 {
		c.TotalBytes = 1 << 30
	}
	if c.Keep <= 0 {
		c.Keep = 10 * time.Minute
	}
	if c.Streams <= 0 {
		c.Streams = 100_000
	}
	if c.Patience <= 0 {
		c.Patience = 30 * time.Second
	}
	return c
}
