package proxy

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the handshake's digest is SHA-1 (RFC 6455 §1.3); it protects nothing
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/tunnel"
)

// A WebSocket of HTTP/2 or HTTP/3 is a CONNECT with the pseudo-header :protocol
// (RFC 8441, RFC 9220); upstream it is an upgrade of HTTP/1.1 (RFC 6455), whose
// handshake differs by a key and a digest of it.

// wantsBridge reports whether r opens a WebSocket so.
func wantsBridge(r *http.Request) bool { return isWebSocket(tunnel.Protocol(r)) }

// admitBridge refuses a version that the upstream could refuse only by a 426,
// which HTTP/2 does not have.
func (x *exchange) admitBridge() error {
	if !slices.Equal(x.in.Header["Sec-Websocket-Version"], []string{"13"}) {
		return fairlead.Errorf(fairlead.InvalidArgument, "a WebSocket handshake needs Sec-WebSocket-Version: 13")
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	x.key = base64.StdEncoding.EncodeToString(nonce[:])
	return nil
}

// bridged returns the client's request as an upgrade; the body stays behind,
// for it is the tunnel.
func (x *exchange) bridged() *http.Request {
	r := x.in.WithContext(x.in.Context()) // a copy
	r.Method = http.MethodGet
	r.Header = x.in.Header.Clone()
	delete(r.Header, ":protocol")
	delete(r.Header, "Content-Length")
	r.Header.Set("Sec-WebSocket-Key", x.key)
	r.Body, r.ContentLength, r.Trailer = http.NoBody, 0, nil
	return r
}

// checkAccept tells an upstream that has seen our key from one that says 101 to
// anything, such as a cache (RFC 6455 §4.1).
func (x *exchange) checkAccept(header http.Header) error {
	sum := sha1.Sum([]byte(x.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	if header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("switch protocols: the upstream's Sec-WebSocket-Accept is not that of the key")
	}
	return nil
}

// errNoSwitch is an upstream that answers a handshake with a page: passed on,
// its 2xx would tell the client that the tunnel is open.
var errNoSwitch = errors.New("switch protocols: the upstream answered with success and did not switch")

// openTunnel answers the client with what the upstream's 101 said. A nil
// connection means that the client has gone.
func (x *exchange) openTunnel(header http.Header) io.ReadWriteCloser {
	removeHopByHop(header)
	header.Del("Sec-WebSocket-Accept")
	h := x.w.Header()
	maps.Copy(h, header)
	x.addOuter(h)
	x.status = http.StatusOK
	stream, err := tunnel.Open(x.w, x.in)
	if err != nil {
		x.cut(fairlead.Cancelled, "answer the client's handshake", err)
		return nil
	}
	return &clientStream{Stream: stream, flow: &x.toClient}
}
