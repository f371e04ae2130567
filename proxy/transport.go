package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// NewTransport returns a transport for upstreams: HTTP/1.1, and HTTP/2 where
// TLS negotiates it. Bodies pass as they are and no proxy of the environment
// is used. The caller owns it and ends its idle connections with
// [http.Transport.CloseIdleConnections].
func NewTransport() *http.Transport {
	dialer := net.Dialer{
		// A SYN is retried after 1 and 3 s: two losses are survived.
		Timeout: 5 * time.Second,
		// A peer that vanished is found after 15 + 3 × 15 s, within the minute
		// after which people reload.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	return &http.Transport{
		DialContext:        dialer.DialContext,
		DisableCompression: true, // no Accept-Encoding that the client did not send
		ForceAttemptHTTP2:  true, // a dialer of our own would turn it off
		// Twice the handshake's two round trips on the slowest links, and
		// still within a client's patience together with the dial.
		TLSHandshakeTimeout: 5 * time.Second,
		// The default of 2 closes and dials again under any concurrency; 256
		// is more than one machine's upstream serves well at once.
		MaxIdleConnsPerHost: 256,
		MaxIdleConns:        1024, // four such hosts
		// Below the 5 s after which Node.js and uvicorn close an idle
		// connection: to dial again costs a round trip, to lose that race
		// costs a POST.
		IdleConnTimeout: 4 * time.Second,
		// A model may think for minutes; the clients of the largest API give
		// up after ten, and whoever waits less cancels by leaving.
		ResponseHeaderTimeout: 10 * time.Minute,
		// Servers that never send 100 are common: ask, do not insist.
		ExpectContinueTimeout: time.Second,
		// Anything larger is an attack or a bug; net/http's default is 10 MiB.
		MaxResponseHeaderBytes: 1 << 20,
		HTTP2: &http.HTTP2Config{
			// As for TCP: a silent HTTP/2 connection is asked every 15 s, and
			// given up 15 s later.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     15 * time.Second,
		},
	}
}

// Endpoint reads an upstream's address and returns the Target and the tuned
// Transport for a [Config]:
//
//	http://host:port/base   HTTP/1.1
//	https://host:port/base  HTTP/1.1 or 2, as negotiated
//	h2c://host:port/base    HTTP/2 without TLS; cannot carry WebSockets
//	unix:/path              HTTP/1.1 on a Unix socket; Host is localhost
func Endpoint(address string) (*url.URL, *http.Transport, error) {
	u, err := url.Parse(address)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, which may hold a password
		}
		return nil, nil, fmt.Errorf("proxy: endpoint: %w", err)
	}
	t := NewTransport()
	switch u.Scheme {
	case "unix":
		path := u.Path
		if u.Host != "" || !strings.HasPrefix(path, "/") {
			return nil, nil, errors.New("proxy: endpoint: a Unix socket is written unix:/path, with an absolute path")
		}
		dial := t.DialContext
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", path) }
		return &url.URL{Scheme: "http", Host: "localhost"}, t, nil
	case "h2c":
		u.Scheme = "http"
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true) // net/http wants no HTTP/1 beside it
	case "http", "https":
	default:
		return nil, nil, fmt.Errorf("proxy: endpoint: scheme %q: use http, https, h2c, or unix:/path", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, nil, errors.New("proxy: endpoint: no host: write it as http://host:port")
	}
	if u.User != nil {
		return nil, nil, errors.New("proxy: endpoint: credentials in a URL are not sent: remove them")
	}
	return u, t, nil
}
