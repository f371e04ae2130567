package websocket

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead/internal/tunnel"
)

// Accept answers a request that asks for a WebSocket: the upgrade of HTTP/1.1
// (RFC 6455 §4.2) with 101, the extended CONNECT of HTTP/2 and HTTP/3 (RFC
// 8441 §5, RFC 9220) with 200. What w.Header holds is sent with it. A request
// that asks wrongly is answered here, with 400, 403, 405, 426 or 501 (see
// [Config.Refuse]), and Accept returns why.
//
// The server speaks the first of [Config.Subprotocols] that the client offered,
// else none; see [Subprotocols]. After Accept neither w nor r.Body may be used;
// r.Context ends when the handler returns. On HTTP/1.1 the Conn may outlive the
// handler. On HTTP/2 and HTTP/3 it is the request: the handler must not return
// while the Conn is used, and ends with [Conn.Close] or [Conn.CloseNow].
func Accept(w http.ResponseWriter, r *http.Request, cfg Config) (*Conn, error) {
	t, err := Take(w, r, cfg)
	if err != nil {
		return nil, err
	}
	cfg.Compression = t.Compression
	c := newConn(t.Stream, Server, cfg, t.Early)
	c.subprotocol = t.Subprotocol
	return c, nil
}

// Taken is a connection after its handshake, with nothing yet that reads or
// writes frames.
type Taken struct {
	// Stream is the connection. On HTTP/1.1 it is what [http.Hijacker] gave, the
	// server's net.Conn itself, without deadlines. On HTTP/2 and HTTP/3 it is the
	// request, which ends with its handler; it has SetReadDeadline and
	// SetWriteDeadline too.
	Stream io.ReadWriteCloser
	// Early is what the client sent right behind its handshake and net/http has
	// read: at most its read buffer, 4 KiB. It comes before what Stream reads.
	Early []byte
	// Subprotocol is the one agreed on, or "".
	Subprotocol string
	// Compression says that permessage-deflate was agreed on.
	Compression bool
}

// Take is [Accept] without a Conn, for a program that cannot keep a goroutine in
// [Conn.Read]: it reads with a [Parser] and writes what [AppendFrame] encodes. A
// Parser knows no compression, so that cfg.Compression is to be off for one. Of
// cfg only WriteTimeout, for the answer, and what the handshake needs is used.
func Take(w http.ResponseWriter, r *http.Request, cfg Config) (*Taken, error) {
	cfg = cfg.withDefaults()
	if status, reason := refusal(r, cfg); status != 0 {
		return nil, refuse(w, r, cfg, status, reason)
	}
	t := &Taken{Subprotocol: pick(cfg.Subprotocols, Subprotocols(r))}
	extensions := ""
	if cfg.Compression {
		extensions = acceptDeflate(r.Header)
	}
	t.Compression = extensions != ""
	take := hijack
	if r.Method == http.MethodConnect {
		take = connect
	}
	var err error
	t.Stream, t.Early, err = take(w, r, cfg, t.Subprotocol, extensions)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// IsHandshake reports whether a request asks for a WebSocket, by a GET that is
// to be upgraded or by an extended CONNECT. Whether it asks rightly is for
// [Accept] to say.
func IsHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header, "Upgrade", "websocket") || isConnect(r)
}

func isConnect(r *http.Request) bool { return strings.EqualFold(tunnel.Protocol(r), "websocket") }

// connect answers an extended CONNECT.
func connect(w http.ResponseWriter, r *http.Request, _ Config, protocol, extensions string) (io.ReadWriteCloser, []byte, error) {
	agree(w.Header(), protocol, extensions)
	stream, err := tunnel.Open(w, r)
	if err != nil {
		return nil, nil, fmt.Errorf("websocket: accept: %w", err)
	}
	return stream, nil, nil
}

// hijack takes over the connection of an upgrade and answers it. It also
// returns what the client has sent since.
func hijack(w http.ResponseWriter, r *http.Request, cfg Config, protocol, extensions string) (io.ReadWriteCloser, []byte, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, errors.Join(err, refuse(w, r, cfg, http.StatusInternalServerError,
			"this server cannot hand over its connection"))
	}
	// The server's deadlines were for the request. What net/http has read ahead
	// is the client's first frames.
	early, peekErr := buffered.Reader.Peek(buffered.Reader.Buffered())
	err = errors.Join(peekErr, conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Now().Add(cfg.WriteTimeout)))
	if err == nil {
		_, err = conn.Write(switching(w.Header(), r.Header.Get("Sec-WebSocket-Key"), protocol, extensions))
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("websocket: accept: %w", err), conn.Close())
	}
	return conn, slices.Clone(early), nil
}

// refusal returns the status and the reason with which a handshake is refused,
// or 0 (RFC 6455 §4.2.1, §4.4, §10.2; RFC 8441 §5).
func refusal(r *http.Request, cfg Config) (int, string) {
	check := cfg.CheckOrigin
	if check == nil {
		check = sameOrigin
	}
	current := slices.Equal(r.Header.Values("Sec-WebSocket-Version"), []string{version})
	switch extended := tunnel.Protocol(r); {
	case isConnect(r):
		if !current {
			return http.StatusBadRequest, "send Sec-WebSocket-Version: 13"
		}
	case extended != "":
		return http.StatusNotImplemented, "of the protocols of an extended CONNECT this endpoint speaks websocket"
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, "a WebSocket handshake is a GET, or an extended CONNECT on HTTP/2 and HTTP/3"
	case !r.ProtoAtLeast(1, 1):
		return http.StatusUpgradeRequired, "a WebSocket handshake needs HTTP/1.1"
	case r.ProtoMajor > 1:
		return http.StatusBadRequest, "this is a WebSocket endpoint: on HTTP/2 and HTTP/3 send an extended CONNECT (RFC 8441, RFC 9220)"
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return http.StatusUpgradeRequired, "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket"
	case !current:
		return http.StatusUpgradeRequired, "send Sec-WebSocket-Version: 13"
	case !validKey(r.Header.Values("Sec-WebSocket-Key")):
		return http.StatusBadRequest, "send one Sec-WebSocket-Key: 16 random bytes in base64"
	}
	if !check(r) {
		return http.StatusForbidden, "this Origin may not open a WebSocket here"
	}
	return 0, ""
}

func validKey(keys []string) bool {
	if len(keys) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(keys[0])
	return err == nil && len(key) == 16
}

// sameOrigin is the default of [Config.CheckOrigin].
func sameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && strings.EqualFold(u.Host, r.Host)
}

func refuse(w http.ResponseWriter, r *http.Request, cfg Config, status int, reason string) error {
	switch {
	case status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	case status == http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", version)
	case status == http.StatusBadRequest && isConnect(r): // RFC 6455 §4.4, by the only status left
		w.Header().Set("Sec-WebSocket-Version", version)
	}
	if cfg.Refuse != nil {
		cfg.Refuse(w, r, status, reason)
	} else {
		http.Error(w, reason, status)
	}
	return fmt.Errorf("websocket: accept: refused with %d: %s", status, reason)
}

// pick returns the first of ours that is among theirs, or "".
func pick(ours, theirs []string) string {
	for _, p := range ours {
		if slices.Contains(theirs, p) {
			return p
		}
	}
	return ""
}

// switching returns the 101 response (RFC 6455 §4.2.2).
func switching(header http.Header, key, protocol, extensions string) []byte {
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	agree(h, protocol, extensions)
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", acceptKey(key))
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&b) // a bytes.Buffer takes all; Write keeps line breaks out of values
	b.WriteString("\r\n")
	return b.Bytes()
}

// agree sets what a handshake agreed on, and removes what no answer to one has.
func agree(h http.Header, protocol, extensions string) {
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		delete(h, name)
	}
	if protocol != "" {
		h.Set("Sec-WebSocket-Protocol", protocol)
	}
	if extensions != "" {
		h.Set("Sec-WebSocket-Extensions", extensions)
	}
}
