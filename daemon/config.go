package daemon

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/topic"
)

// Config is the configuration file. fairlead.yaml at the top of the
// repository explains each key and holds its default.
type Config struct {
	HTTP           string              `yaml:"http"`  // address of the public listener; "" turns it off
	HTTPS          string              `yaml:"https"` // address of the one with TLS; "" turns it off
	Admin          string              `yaml:"admin"` // address of the admin listener; "" turns it off
	TLS            TLS                 `yaml:"tls"`
	HTTP3          HTTP3               `yaml:"http3"`
	Timeouts       Timeouts            `yaml:"timeouts"`
	ProxyProtocol  []Prefix            `yaml:"proxy_protocol"` // peers that send its header
	AdminToken     string              `yaml:"admin_token"`
	PublishToken   string              `yaml:"publish_token"`
	TopicsPrefix   string              `yaml:"topics_prefix"` // "" turns the topics off
	Hosts          []string            `yaml:"hosts"`
	CORS           []string            `yaml:"cors"`
	TrustedProxies []Prefix            `yaml:"trusted_proxies"`
	Log            Log                 `yaml:"log"`
	Upstreams      map[string]Upstream `yaml:"upstreams"`
	Routes         []Route             `yaml:"routes"`
	Topics         []Topic             `yaml:"topics"`
	Compress       Compress            `yaml:"compress"`
	Limits         Limits              `yaml:"limits"`
	Heartbeat      Duration            `yaml:"heartbeat"`
	Fanout         Fanout              `yaml:"fanout"`
	Drain          Drain               `yaml:"drain"`
	Metrics        Metrics             `yaml:"metrics"`
	Tracing        Tracing             `yaml:"tracing"`
}

// Log says what is logged, and how.
type Log struct {
	Level       string `yaml:"level"`       // debug, info, warn or error
	Format      string `yaml:"format"`      // auto, text or json
	Connections Share  `yaml:"connections"` // of their ends that are logged
}

// Route sends the requests under a path to an upstream.
type Route struct {
	Path      Pattern       `yaml:"path"`
	Upstream  string        `yaml:"upstream"`
	Capture   Capture       `yaml:"capture"`
	Compress  RouteCompress `yaml:"compress"`
	EarlyData bool          `yaml:"early_data"` // safe requests may be answered before the handshake's end
	Log       Share         `yaml:"log"`        // of the requests without a fault that are logged
}

// Capture says which responses of a route are recorded, and how. It may be
// written as what to record alone.
type Capture struct {
	Record       Record       `yaml:"record"`
	OnDisconnect OnDisconnect `yaml:"on_disconnect"`
	Owner        []Owner      `yaml:"owner"`
	CommitAfter  Duration     `yaml:"commit_after"` // 0: off
	End          End          `yaml:"end"`
	MaxEvent     Size         `yaml:"max_event"`
}

// End says whether a client gets 204 that comes back with the cursor of a
// captured stream that has ended ("final"), or its request is sent to the
// upstream ("resume").
type End bool

// What comes after the end.
const (
	EndResume End = false
	EndFinal  End = true
)

func (c *Capture) word(text string) error { return c.Record.parse(text) }

func (r *Route) defaults() {
	r.Capture, r.Log = Capture{MaxEvent: 1 << 20}, 1
}

// Topic is the policy of the topics that match.
type Topic struct {
	Match       Pattern  `yaml:"match"`
	Deliver     Delivery `yaml:"deliver"`
	OnLag       OnLag    `yaml:"on_lag"`
	Retain      Retain   `yaml:"retain"`
	WaitTimeout Duration `yaml:"wait_timeout"`
	Log         Share    `yaml:"log"` // of the requests without a fault, for it alone, that are logged
}

// Retain bounds what a topic keeps.
type Retain struct {
	Events int      `yaml:"events"`
	Bytes  Size     `yaml:"bytes"`
	Age    Duration `yaml:"age"`
}

func (t *Topic) defaults() {
	t.Retain = Retain{topic.DefaultEvents, topic.DefaultBytes, Duration(topic.DefaultAge)}
	t.WaitTimeout, t.Log = Duration(topic.DefaultWaitTimeout), 1
}

func (t *Topic) policy() topic.Policy {
	p := t.Deliver.Policy
	p.OnLag = topic.OnLag(t.OnLag)
	p.Events, p.Bytes, p.Age = t.Retain.Events, int64(t.Retain.Bytes), time.Duration(t.Retain.Age)
	p.WaitTimeout = time.Duration(t.WaitTimeout)
	return p
}

// Limits bound what clients can make the server hold.
type Limits struct {
	Body                Size     `yaml:"body"`   // of a publish
	Topics              int      `yaml:"topics"` // at one time
	TopicsPerConnection int      `yaml:"topics_per_connection"`
	Message             Size     `yaml:"message"`         // of a WebSocket
	CapturedStream      Size     `yaml:"captured_stream"` // one recording
	CapturedTotal       Size     `yaml:"captured_total"`  // all recordings
	CapturedKeep        Duration `yaml:"captured_keep"`   // after the end

	Connections           int  `yaml:"connections"`             // at one time; 0: four fifths of the descriptors
	ConnectionsPerAddress int  `yaml:"connections_per_address"` // 0: any number
	ConnectionRate        int  `yaml:"connection_rate"`         // new ones a second from an address; 0: any number
	RequestsPerConnection int  `yaml:"requests_per_connection"` // at one time, of HTTP/2 and 3
	Header                Size `yaml:"header"`                  // of a request

	SlowReader Duration `yaml:"slow_reader"` // falling further behind for so long, it is sent away; 0: never
}

// Fanout says how readers on plain HTTP/1.1 are served.
type Fanout struct {
	Engine     bool     `yaml:"engine"`      // all by a few goroutines; false: each by its own
	FlushDelay Duration `yaml:"flush_delay"` // of an event after another, so that more go into one write
}

// Drain says how the server goes away.
type Drain struct {
	Window   Duration `yaml:"window"`   // the advice to come back is spread over it
	Deadline Duration `yaml:"deadline"` // what is open then is reset
}

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		HTTP: "127.0.0.1:8080", Admin: "127.0.0.1:9090",
		TLS:   TLS{Certificates: []Certificate{}, MinVersion: tls.VersionTLS12},
		HTTP3: HTTP3{Enabled: true},
		Timeouts: Timeouts{
			Header: Duration(10 * time.Second), Body: Duration(30 * time.Second), Idle: Duration(75 * time.Second), Age: Duration(time.Hour),
		},
		TopicsPrefix: "/topics",
		Hosts:        []string{}, CORS: []string{}, TrustedProxies: []Prefix{}, ProxyProtocol: []Prefix{},
		Log:       Log{Level: "info", Format: "auto", Connections: 1},
		Upstreams: map[string]Upstream{}, Routes: []Route{}, Topics: []Topic{},
		Compress: Compress{Prefer: PreferSpeed, MinSize: 1 << 10, Types: []string{}, Share: true, Memory: 64 << 20},
		Limits: Limits{
			Body: 1 << 20, Topics: topic.DefaultMaxTopics, TopicsPerConnection: 1000, Message: 1 << 20,
			CapturedStream: 16 << 20, CapturedTotal: 1 << 30, CapturedKeep: Duration(10 * time.Minute),
			ConnectionsPerAddress: 1000, ConnectionRate: 500, RequestsPerConnection: 250, Header: 64 << 10,
			SlowReader: Duration(time.Minute),
		},
		Heartbeat: Duration(15 * time.Second),
		Fanout:    Fanout{Engine: true},
		Drain:     Drain{Window: Duration(5 * time.Second), Deadline: Duration(25 * time.Second)},
		Metrics:   Metrics{Enabled: true, EventTypes: []string{}},
		Tracing:   Tracing{Sample: 0.01, Deliveries: 100},
	}
}

// policies returns the function from a topic's name to its policy.
func (c *Config) policies() func(name string) topic.Policy {
	all := make([]ruled[topic.Policy], len(c.Topics))
	for i := range c.Topics {
		all[i] = ruled[topic.Policy]{c.Topics[i].Match, c.Topics[i].policy()}
	}
	ordered := newRules(all)
	return func(name string) topic.Policy {
		p, _ := ordered.find(name) // no rule: the zero policy is the default
		return p
	}
}

// trusted returns the trusted proxies.
func (c *Config) trusted() []netip.Prefix { return prefixes(c.TrustedProxies) }

func prefixes(from []Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(from))
	for i, p := range from {
		all[i] = netip.Prefix(p)
	}
	return all
}

// topicPattern returns what finds the pattern that decides about a topic: a
// label that, unlike the topic's name, has few values.
func (c *Config) topicPattern() func(name string) string {
	all := make([]ruled[string], len(c.Topics))
	for i := range c.Topics {
		all[i] = ruled[string]{c.Topics[i].Match, c.Topics[i].Match.String()}
	}
	ordered := newRules(all)
	return func(name string) string {
		if pattern, ok := ordered.find(name); ok {
			return pattern
		}
		return anyMany
	}
}

// config returns the capture of a route, for the room that does it.
func (c *Capture) config(heartbeat Duration) capture.Config {
	owner := make([]capture.Identity, len(c.Owner))
	for i, o := range c.Owner {
		owner[i] = capture.Identity(o)
	}
	return capture.Config{
		Record: capture.Record(c.Record), OnDisconnect: capture.OnDisconnect(c.OnDisconnect), Owner: owner,
		CommitAfter: time.Duration(c.CommitAfter), EndFinal: c.End == EndFinal,
		MaxEvent: int64(c.MaxEvent), Heartbeat: time.Duration(heartbeat),
	}
}

// ownPaths is where the server's own resources live, besides the topics.
const ownPaths = "/.well-known/fairlead"

// ownStreams is where those of them are that are captured streams.
const ownStreams = ownPaths + "/streams"
