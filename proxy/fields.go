package proxy

import (
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop are the fields of one connection only (RFC 9110 §7.6.1), besides
// those that Connection names.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// removeHopByHop removes the fields of one connection from h.
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// barredFromTrailer reports whether a trailer field may not pass: those that frame,
// route, change or vouch for a message, or say what it is, are read too late to be
// believed (RFC 9110 §6.5.1), and carelessly merged they would be.
func barredFromTrailer(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Authorization", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type",
		"Cookie", "Expect", "Host", "Max-Forwards", "Pragma", "Range", "Set-Cookie", "Www-Authenticate",
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return strings.HasPrefix(name, "If-") || vouches(name)
}

// dropBarred removes from a trailer what may not pass.
func dropBarred(trailer http.Header) {
	for name := range trailer {
		if barredFromTrailer(name) {
			delete(trailer, name)
		}
	}
}
