package compress

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// offer returns the codings with the dictionary that a request may be answered
// in, the preferred one first, and tells a client that could have the dictionary
// where it is.
func (d *Dictionary) offer(r *http.Request, header http.Header, cfg *Config) []*codec {
	vary(header, "Available-Dictionary")
	if !d.trusts(r) {
		return nil
	}
	if hash, ok := parseAvailable(r.Header["Available-Dictionary"]); !ok || hash != d.hash {
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && matches(d.match, r.URL.EscapedPath()) {
			header.Add("Link", d.link)
		}
		return nil
	}
	switch {
	case isEvents(header) && !cfg.NoShare:
		return []*codec{d.shared, d.dcb}
	case cfg.Prefer == Size:
		return []*codec{d.dcb, d.dcz}
	default:
		return []*codec{d.dcz, d.dcb}
	}
}

// matches reports whether a path is one of a pattern's. Of one that has more
// than "*", which only the client can read, every path is.
func matches(pattern, path string) bool {
	if strings.ContainsAny(pattern, `?:{}+\`) {
		return true
	}
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(path, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}

// trusts reports whether the client may use a dictionary: on a page of this very
// origin (or none: a program), over a connection that browsers call secure
// (RFC 9842 §9).
func (d *Dictionary) trusts(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return d.anyScheme || r.TLS != nil || local(r.Host)
	default:
		return false
	}
}

// local reports whether host is this machine itself.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return strings.EqualFold(host, "localhost") || len(host) > 10 && strings.EqualFold(host[len(host)-10:], ".localhost")
}

// availableLen is the length of a hash as a byte sequence of a structured field.
var availableLen = base64.StdEncoding.EncodedLen(sha256.Size) + len("::")

// parseAvailable reads Available-Dictionary (RFC 9842 §2.2): one hash, without
// parameters. A client that writes anything else has no dictionary for us.
func parseAvailable(lines []string) (hash [sha256.Size]byte, ok bool) {
	if len(lines) != 1 {
		return hash, false
	}
	s := strings.Trim(lines[0], " ")
	if len(s) != availableLen || s[0] != ':' || s[len(s)-1] != ':' {
		return hash, false
	}
	// The decoder skips line breaks, which a header field cannot have; with
	// them there are too few bytes.
	n, err := base64.StdEncoding.Strict().Decode(hash[:], []byte(s[1:len(s)-1]))
	return hash, err == nil && n == len(hash)
}
