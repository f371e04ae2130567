package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// vouches reports whether a field tells of the client and the way it came, in
// any spelling: servers behind CGI or WSGI cannot tell _ from -.
func vouches(name string) bool {
	if len(name) < len("Forwarded") || name[0]|0x20 != 'x' && name[0]|0x20 != 'f' {
		return false
	}
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	return name == "forwarded" || name == "x-real-ip" || strings.HasPrefix(name, "x-forwarded-")
}

// setForwarded gives out the Forwarded (RFC 7239) and X-Forwarded-* fields of
// in: extended when in came from a trusted peer, otherwise anew.
func setForwarded(out http.Header, in *http.Request, trusted []netip.Prefix) {
	for name := range out {
		if vouches(name) {
			delete(out, name)
		}
	}
	peer := peerAddr(in)
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	element := forwardedElement(peer, in.Host, proto)
	var chain string
	if peer.IsValid() {
		chain = peer.String()
	}
	if contains(trusted, peer) {
		for name, values := range in.Header {
			if vouches(name) && !strings.Contains(name, "_") {
				out[name] = slices.Clone(values)
			}
		}
		if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
			chain = strings.Join(prior, ", ") + ", " + chain
		}
		// A list that cannot be read would take our element down with it.
		prior := in.Header["Forwarded"]
		if elements, err := ParseForwarded(prior); err == nil && len(elements) > 0 {
			element = strings.Join(prior, ", ") + ", " + element
		}
	}
	out["Forwarded"] = []string{element}
	if chain != "" {
		out["X-Forwarded-For"] = []string{chain}
	}
	if _, ok := out["X-Forwarded-Host"]; !ok && in.Host != "" {
		out["X-Forwarded-Host"] = []string{in.Host}
	}
	if _, ok := out["X-Forwarded-Proto"]; !ok {
		out["X-Forwarded-Proto"] = []string{proto}
	}
}

func forwardedElement(peer netip.Addr, host, proto string) string {
	node := "unknown"
	switch {
	case peer.Is4():
		node = peer.String()
	case peer.Is6():
		node = `"[` + peer.String() + `]"`
	}
	if host == "" {
		return "for=" + node + ";proto=" + proto
	}
	return "for=" + node + ";host=" + quoted(host) + ";proto=" + proto
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoted returns s as a token if it is one, else as a quoted-string (RFC 9110
// §5.6.4). A host with a port needs the quotes.
func quoted(s string) string {
	for i := range len(s) {
		if !isToken(s[i]) {
			return `"` + quoting.Replace(s) + `"`
		}
	}
	return s
}

// isToken reports whether c is a tchar (RFC 9110 §5.6.2).
func isToken(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// peerAddr returns the address of the other end of in's connection, invalid
// when it has none, as on a Unix socket.
func peerAddr(in *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(in.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ForwardedElement is one hop of a Forwarded field (RFC 7239 §4): parameters
// by lower-case name, unquoted.
type ForwardedElement map[string]string

// ParseForwarded reads the lines of a Forwarded field, the hop nearest to the
// client first. An error means that the list cannot be trusted at all: a
// parameter is given twice, a quote is not closed, or the like.
func ParseForwarded(lines []string) ([]ForwardedElement, error) {
	var elements []ForwardedElement
	for _, line := range lines {
		var err error
		if elements, err = parseForwardedLine(elements, line); err != nil {
			return nil, fmt.Errorf("proxy: read Forwarded: %w", err)
		}
	}
	return elements, nil
}

func parseForwardedLine(elements []ForwardedElement, s string) ([]ForwardedElement, error) {
	element := ForwardedElement{}
	for {
		s = strings.TrimLeft(s, " \t")
		if s != "" && s[0] != ';' && s[0] != ',' {
			name, value, rest, err := parsePair(s)
			if err != nil {
				return nil, err
			}
			if _, ok := element[name]; ok {
				return nil, fmt.Errorf("the parameter %q is given twice in one element", name)
			}
			element[name] = value
			s = strings.TrimLeft(rest, " \t")
		}
		if s == "" || s[0] == ',' {
			if len(element) > 0 {
				elements = append(elements, element)
				element = ForwardedElement{}
			}
			if s == "" {
				return elements, nil
			}
		} else if s[0] != ';' {
			return nil, errors.New("a semicolon or a comma is missing after a parameter")
		}
		s = s[1:]
	}
}

// parsePair reads name=value off the front of s.
func parsePair(s string) (name, value, rest string, err error) {
	n := tokenLen(s)
	if n == 0 || n == len(s) || s[n] != '=' {
		return "", "", "", errors.New("a parameter is not of the form name=value")
	}
	name, s = strings.ToLower(s[:n]), s[n+1:]
	if s == "" || s[0] != '"' {
		n = tokenLen(s)
		if n == 0 {
			return "", "", "", fmt.Errorf("the parameter %q has no value, or one that needs quotes", name)
		}
		return name, s[:n], s[n:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return name, b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "", fmt.Errorf("the quote of the parameter %q is not closed", name)
}

func tokenLen(s string) int {
	for i := range len(s) {
		if !isToken(s[i]) {
			return i
		}
	}
	return len(s)
}

// ClientAddr returns the address that r came from: that of its peer, or, when
// that is a trusted proxy, the nearest address in X-Forwarded-For that is not
// (from the right, since whoever is on the left may have invented it). With
// no X-Forwarded-For the for= parameters of Forwarded are read the same way.
// It is invalid for a Unix socket and where a trusted proxy names no address.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	addr := peerAddr(r)
	if !contains(trusted, addr) {
		return addr
	}
	for _, hop := range slices.Backward(hops(r.Header)) {
		if addr = parseNode(hop); !contains(trusted, addr) {
			return addr
		}
	}
	return addr
}

// hops returns the nodes that r is said to have passed, the client first.
func hops(h http.Header) []string {
	if lines := h["X-Forwarded-For"]; len(lines) > 0 {
		return strings.Split(strings.Join(lines, ","), ",")
	}
	elements, err := ParseForwarded(h["Forwarded"])
	if err != nil {
		return nil
	}
	nodes := make([]string, len(elements))
	for i, e := range elements {
		nodes[i] = e["for"]
	}
	return nodes
}

// parseNode reads an address with or without a port and brackets.
func parseNode(s string) netip.Addr {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
