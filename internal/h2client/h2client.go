// Package h2client is an HTTP/2 client for tests that opens WebSockets by
// extended CONNECT (RFC 8441), which net/http's client cannot.
package h2client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Client is a round tripper with one connection to each server, without TLS.
type Client struct {
	http.RoundTripper

	t testing.TB
}

// New returns a Client that ends with the test.
func New(t testing.TB) *Client {
	t.Helper()
	dial := func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: dial} //nolint:staticcheck // deprecated for net/http's, which refuses :protocol
	t.Cleanup(transport.CloseIdleConnections)                            //nolint:staticcheck // the same
	return &Client{transport, t}
}

// WebSocket is what an ordinary handshake sends, and fields in pairs.
func WebSocket(fields ...string) http.Header {
	h := http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return h
}

// Connect opens a tunnel to url; header holds its ":protocol". The response's
// body is the stream's reading half.
func (c *Client) Connect(url string, header http.Header) (*Stream, *http.Response) {
	c.t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, url, body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = header
	if host := header.Get("Host"); host != "" {
		req.Host = host
		header.Del("Host")
	}
	res, err := c.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	s := &Stream{PipeWriter: w, in: res.Body, cancel: cancel}
	c.t.Cleanup(s.Reset)
	return s, res
}

// Refused is Connect for a handshake that gets another answer: it returns the
// answer and its body.
func (c *Client) Refused(url string, header http.Header) (*http.Response, string) {
	c.t.Helper()
	s, res := c.Connect(url, header)
	defer s.Reset()
	var b strings.Builder
	if _, err := io.Copy(&b, res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res, b.String()
}

// Stream is the client's end of a tunnel. Its CloseWithError and Close end the
// sending half.
type Stream struct {
	*io.PipeWriter

	in     io.ReadCloser
	cancel context.CancelCauseFunc
}

var errReset = errors.New("h2client: reset by the test")

// Read reads what the server sends.
func (s *Stream) Read(p []byte) (int, error) { return s.in.Read(p) }

// Reset ends both halves by RST_STREAM.
func (s *Stream) Reset() {
	s.cancel(errReset)
	_ = s.CloseWithError(errReset)
}
