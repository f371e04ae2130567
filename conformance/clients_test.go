package conformance_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// protocol is a version of HTTP as a Go client speaks it.
type protocol struct {
	name  string
	proto string // as a response names it
}

var (
	h1  = protocol{"h1", "HTTP/1.1"}
	h2  = protocol{"h2", "HTTP/2.0"}
	h2c = protocol{"h2c", "HTTP/2.0"}
	h3  = protocol{"h3", "HTTP/3.0"}

	protocols = []protocol{h1, h2, h2c, h3}
)

// base returns where a server speaks the protocol.
func (p protocol) base(s *server) string {
	if p == h2c {
		return s.http
	}
	return s.https
}

// client returns a client of one connection at a time, which decodes nothing.
func (p protocol) client(t *testing.T, conf *tls.Config) *http.Client {
	t.Helper()
	if p == h3 {
		transport := &http3.Transport{TLSClientConfig: conf, QUICConfig: new(quic.Config), DisableCompression: true}
		t.Cleanup(func() { _ = transport.Close() })
		return &http.Client{Transport: transport}
	}
	transport := &http.Transport{TLSClientConfig: conf, Protocols: new(http.Protocols), DisableCompression: true}
	switch p {
	case h1:
		transport.Protocols.SetHTTP1(true)
	case h2:
		transport.Protocols.SetHTTP2(true)
	case h2c:
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// each runs a test for each of the protocols.
func each(t *testing.T, protocols []protocol, test func(t *testing.T, p protocol)) {
	t.Helper()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// get asks for a URL with header fields, as pairs of name and value, and fails
// unless the answer came by the protocol. The answer ends with the test.
func (p protocol) get(ctx context.Context, t *testing.T, c *http.Client, url string, fields ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.Proto != p.proto {
		t.Errorf("the answer came by %s, want %s", res.Proto, p.proto)
	}
	return res
}

// whole reads a body to its end.
func whole(t *testing.T, body io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("the body was cut short after %d bytes: %v", len(b), err)
	}
	return string(b)
}
