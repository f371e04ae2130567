package websocket

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Accept takes over the connection of an HTTP/1.1 request that asks for a
// WebSocket (RFC 6455 §4.2). What w.Header holds is sent with the 101. A
// request that asks wrongly is answered here, with 400, 403, 405 or 426, and
// Accept returns why.
//
// The server speaks the first of [Config.Subprotocols] that the client offered,
// else none; see [Subprotocols]. After Accept neither w nor r.Body may be used;
// r.Context ends when the handler returns.
func Accept(w http.ResponseWriter, r *http.Request, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if status, reason := refusal(r, cfg); status != 0 {
		return nil, refuse(w, status, reason)
	}
	protocol := pick(cfg.Subprotocols, Subprotocols(r))
	extensions := ""
	if cfg.Compression {
		extensions = acceptDeflate(r.Header)
	}
	cfg.Compression = extensions != ""

	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, errors.Join(err, refuse(w, http.StatusInternalServerError,
			"this server cannot hand over its connection"))
	}
	// The server's deadlines were for the request. What net/http has read ahead
	// is the client's first frames.
	early, peekErr := buffered.Reader.Peek(buffered.Reader.Buffered())
	err = errors.Join(peekErr, conn.SetDeadline(time.Time{}))
	if err == nil {
		err = conn.SetWriteDeadline(time.Now().Add(cfg.WriteTimeout))
	}
	if err == nil {
		_, err = conn.Write(switching(w.Header(), r.Header.Get("Sec-WebSocket-Key"), protocol, extensions))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("websocket: accept: %w", err), conn.Close())
	}
	c := newConn(conn, Server, cfg, slices.Clone(early))
	c.subprotocol = protocol
	return c, nil
}

// refusal returns the status and the reason with which a handshake is refused,
// or 0 (RFC 6455 §4.2.1, §4.4, §10.2).
func refusal(r *http.Request, cfg Config) (int, string) {
	check := cfg.CheckOrigin
	if check == nil {
		check = sameOrigin
	}
	switch {
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, "a WebSocket handshake is a GET"
	case !r.ProtoAtLeast(1, 1):
		return http.StatusUpgradeRequired, "a WebSocket handshake needs HTTP/1.1"
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return http.StatusUpgradeRequired, "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket"
	case !slices.Equal(r.Header.Values("Sec-WebSocket-Version"), []string{version}):
		return http.StatusUpgradeRequired, "send Sec-WebSocket-Version: 13"
	case !validKey(r.Header.Values("Sec-WebSocket-Key")):
		return http.StatusBadRequest, "send one Sec-WebSocket-Key: 16 random bytes in base64"
	case !check(r):
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

func refuse(w http.ResponseWriter, status int, reason string) error {
	switch status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	case http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", version)
	}
	http.Error(w, reason, status)
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
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		delete(h, name)
	}
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", acceptKey(key))
	if protocol != "" {
		h.Set("Sec-WebSocket-Protocol", protocol)
	}
	if extensions != "" {
		h.Set("Sec-WebSocket-Extensions", extensions)
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&b) // a bytes.Buffer takes all; Write keeps line breaks out of values
	b.WriteString("\r\n")
	return b.Bytes()
}
