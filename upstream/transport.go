package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// dialError marks an attempt that sent nothing of the request.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func isDialError(err error) bool {
	_, ok := errors.AsType[*dialError](err)
	return ok
}

// newTransport returns the connections of one endpoint. It takes no proxy
// from the environment: an edge reaches what its configuration says.
func newTransport(e Endpoint, dialTimeout time.Duration) *http.Transport {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		// A peer that vanished is found after 15 + 3 × 15 s, within the minute
		// after which people reload.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if e.Socket != "" {
				network, address = "unix", e.Socket
			}
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		// Bodies pass as they are: no Accept-Encoding that the client did not
		// send, and nothing decoded.
		DisableCompression: true,
		// A dialer of our own would turn HTTP/2 over TLS off.
		ForceAttemptHTTP2: true,
		// Two round trips on the slowest links, with a loss.
		TLSHandshakeTimeout: 5 * time.Second,
		// net/http's 2 per host close and dial again under any concurrency;
		// 256 is more than one machine's upstream serves well at once.
		MaxIdleConnsPerHost: 256,
		MaxIdleConns:        256, // the transport has one host
		// Below the 5 s after which Node.js and uvicorn close an idle
		// connection: to dial again costs a round trip, to lose that race
		// costs a POST.
		IdleConnTimeout: 4 * time.Second,
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
			// As for TCP: a silent connection is asked every 15 s and given
			// up 15 s later.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     15 * time.Second,
			// Larger frames only delay the other streams of the connection.
			MaxReadFrameSize: 16 << 10,
		},
	}
	if e.Scheme == "h2c" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true) // net/http wants no HTTP/1 beside it
	}
	return t
}
