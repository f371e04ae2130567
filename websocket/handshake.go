package websocket

import (
	"crypto/sha1" //nolint:gosec // the handshake's digest is SHA-1 (RFC 6455 §1.3); it protects nothing
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

// version is the only version of the protocol (RFC 6455 §4.4).
const version = "13"

// acceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key
// (RFC 6455 §4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tokens returns the members of a comma-separated header.
func tokens(h http.Header, name string) []string {
	var list []string
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if t = strings.TrimSpace(t); t != "" {
				list = append(list, t)
			}
		}
	}
	return list
}

func hasToken(h http.Header, name, token string) bool {
	for _, t := range tokens(h, name) {
		if strings.EqualFold(t, token) {
			return true
		}
	}
	return false
}

// Subprotocols returns what the client of a handshake asks for, in its order of
// preference. A server that must refuse unknown ones looks here before
// [Accept].
func Subprotocols(r *http.Request) []string {
	return tokens(r.Header, "Sec-WebSocket-Protocol")
}

// deflateOffer asks for permessage-deflate with an empty context for each
// message, both ways (RFC 7692 §7.1.1).
const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// acceptDeflate returns the answer to the first offer of permessage-deflate
// that can be met, or "".
func acceptDeflate(h http.Header) string {
	for _, line := range h.Values("Sec-WebSocket-Extensions") {
		options, ok := httphead.ParseOptions([]byte(line), nil)
		if !ok {
			continue
		}
		for _, option := range options {
			var p wsflate.Parameters
			if string(option.Name) != wsflate.ExtensionName || p.Parse(option) != nil {
				continue
			}
			// The deflater's window is always 32 KiB.
			switch p.ServerMaxWindowBits {
			case 0:
				return deflateOffer
			case 15:
				return deflateOffer + "; server_max_window_bits=15"
			default:
			}
		}
	}
	return ""
}

// agreedDeflate reports whether a server's answer to deflateOffer accepts it,
// and whether the answer can be lived with at all (RFC 7692 §7.1.3).
func agreedDeflate(h http.Header, offered bool) (on, ok bool) {
	for _, line := range h.Values("Sec-WebSocket-Extensions") {
		options, parsed := httphead.ParseOptions([]byte(line), nil)
		if !parsed {
			return false, false
		}
		for _, option := range options {
			var p wsflate.Parameters
			switch {
			case on, !offered, string(option.Name) != wsflate.ExtensionName, p.Parse(option) != nil:
				return false, false
			case !p.ServerNoContextTakeover, p.ClientMaxWindowBits != 0:
				return false, false
			}
			on = true
		}
	}
	return on, true
}
