package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// defaultDial is Config.Dial when it is nil.
func defaultDial() func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		// A peer that vanished is found after 15 + 3 × 15 s, within the minute
		// after which people reload.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	return dialer.DialContext
}

// sessions is how many TLS sessions are kept for each endpoint: a ticket is
// used once, and as many as are dialed at once are wanted.
const sessions = 64

// newTransport returns what makes the HTTP connections of one endpoint. It
// takes no proxy from the environment: an edge reaches what its configuration
// says.
func newTransport(e Endpoint, cfg *Config) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dialSocket(ctx, e, cfg, address)
		},
		// Bodies pass as they are: no Accept-Encoding that the client did not
		// send, and nothing decoded.
		DisableCompression: true,
		// Off: a model may think for minutes before its first byte, and
		// whoever will not wait so long cancels by leaving.
		ResponseHeaderTimeout: 0,
		// Servers that never send 100 are common: ask, do not insist.
		ExpectContinueTimeout: time.Second,
		// Anything larger is an attack or a bug; net/http's default is 10 MiB.
		MaxResponseHeaderBytes: 1 << 20,
		// Streams come in short reads: larger buffers than net/http's 4 KiB
		// only cost memory while they are quiet.
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
		HTTP2: &http.HTTP2Config{
			// Servers of gRPC close a connection that pings more often than
			// every 5 minutes while a call is silent; a peer that vanished
			// is TCP's to find, see giveUp.
			SendPingTimeout: 6 * time.Minute,
			PingTimeout:     15 * time.Second,
			// Larger frames only delay the other streams of the connection.
			MaxReadFrameSize: 16 << 10,
		},
		Protocols: new(http.Protocols),
	}
	switch e.Scheme {
	case "h2c":
		t.Protocols.SetUnencryptedHTTP2(true) // net/http wants no HTTP/1 beside it
	case "https":
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
		t.TLSClientConfig = tlsConfig(e, cfg.TLS)
	default:
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// newUpgrader returns what makes the connections of an endpoint that may speak
// HTTP/2 for the requests that only HTTP/1.1 carries.
func newUpgrader(e Endpoint, cfg *Config) *http.Transport {
	t := newTransport(e, cfg)
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"} // net/http would offer nothing, and the peer choose
	}
	return t
}

func tlsConfig(e Endpoint, from *tls.Config) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if from != nil {
		c = from.Clone()
	}
	c.NextProtos = nil // net/http's, by its Protocols
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(e.Host)
		if err != nil {
			host = e.Host
		}
		c.ServerName = trimBrackets(host)
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(sessions)
	}
	return c
}

// dialSocket makes the raw connection of a dial.
func dialSocket(ctx context.Context, e Endpoint, cfg *Config, address string) (net.Conn, error) {
	network := "tcp"
	if e.Socket != "" || e.Address != "" {
		network, address = e.dialed()
	}
	d, _ := ctx.Value(dialKey{}).(*dialing)
	start := time.Now()
	raw, err := cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.connected = time.Since(start) - d.c.how.dns
	d.c.socket = newSocket(raw, cfg.Retry.KernelProof, d.c.closed)
	return d.c.socket, nil
}

func trimBrackets(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
