package conformance_test

import (
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/websocket"
)

// dial opens a WebSocket by the protocol's own handshake: an upgrade of
// HTTP/1.1, or an extended CONNECT (RFC 8441, 9220). Further header fields are
// given as pairs of name and value.
func (p protocol) dial(t *testing.T, url string, fields ...string) *websocket.Conn {
	t.Helper()
	conf := authority().tls()
	header := http.Header{}
	for i := 0; i < len(fields); i += 2 {
		header.Set(fields[i], fields[i+1])
	}
	if p == h1 {
		socket, _, err := websocket.Dial(t.Context(), url, websocket.DialConfig{Header: header, TLS: conf})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = socket.CloseNow() })
		return socket
	}
	client := h2client.New(t)
	switch p {
	case h2:
		transport := &http2.Transport{TLSClientConfig: conf} //nolint:staticcheck // deprecated for net/http's, which refuses :protocol
		t.Cleanup(transport.CloseIdleConnections)            //nolint:staticcheck // the same
		client.RoundTripper = transport
	case h3:
		client.RoundTripper = overHTTP3{p.client(t, conf).Transport}
	}
	stream, res := client.Connect(url, h2client.WebSocket(fields...))
	if res.StatusCode != http.StatusOK || res.Proto != p.proto || res.Header.Get("Content-Encoding") != "" {
		t.Fatalf("the WebSocket's handshake is answered with %s %s, %v", res.Proto, res.Status, res.Header)
	}
	return websocket.New(stream, websocket.Client, websocket.Config{})
}

// overHTTP3 takes the protocol of an extended CONNECT from where a client of
// HTTP/2 has it to where quic-go's has.
type overHTTP3 struct{ http.RoundTripper }

func (o overHTTP3) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Proto = r.Header.Get(":protocol")
	r.Header.Del(":protocol")
	return o.RoundTripper.RoundTrip(r)
}
