package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Endpoint is where one copy of an upstream listens.
type Endpoint struct {
	// Scheme is http, https, h2c or unix.
	Scheme string
	// Host is the host and, unless it is the scheme's own, the port; for unix
	// it is "localhost", which the request then carries as its Host.
	Host string
	// Base is put before the path of each request, as it stands in the URL:
	// escaped, with a leading slash and without a trailing one. Empty: nothing.
	Base string
	// Socket is the path of the Unix socket; empty for other schemes.
	Socket string
	// Address is the host:port that Host was resolved to; empty: Host is
	// dialed.
	Address string
}

// ParseEndpoint reads an endpoint as the configuration writes it; see the
// package's documentation. It refuses user names, queries and fragments,
// which would not be sent.
func ParseEndpoint(s string) (Endpoint, error) {
	e, err := parseEndpoint(s)
	if err != nil {
		return Endpoint{}, fmt.Errorf("upstream: endpoint: %w", err)
	}
	return e, nil
}

var errScheme = errors.New("it must begin with http://, https://, h2c:// or unix:/")

func parseEndpoint(s string) (Endpoint, error) {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseSocket(socket)
	}
	u, err := url.Parse(s)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, which may hold a password
		}
		return Endpoint{}, fmt.Errorf("%w; write it like http://host:port", err)
	}
	switch u.Scheme {
	case "http", "https", "h2c":
	default:
		return Endpoint{}, errScheme
	}
	switch {
	case u.Hostname() == "":
		return Endpoint{}, fmt.Errorf("there is no host; write it like %s://host:port", u.Scheme)
	case u.User != nil:
		return Endpoint{}, errors.New("a user name or password in it would not be sent; remove it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Endpoint{}, errors.New("a query or fragment in it would not be sent; remove it")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Endpoint{}, fmt.Errorf("port %s is not between 1 and 65535", port)
		}
	}
	if strings.HasSuffix(u.Host, ":") {
		return Endpoint{}, errors.New("there is no port after the colon")
	}
	return Endpoint{Scheme: u.Scheme, Host: u.Host, Base: strings.TrimRight(u.EscapedPath(), "/")}, nil
}

// maxSocket is the longest path that fits Linux's sockaddr_un, with its NUL.
const maxSocket = 107

func parseSocket(socket string) (Endpoint, error) {
	switch {
	case !strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "//"):
		return Endpoint{}, errors.New("a Unix socket is written unix:/path, with an absolute path")
	case len(socket) > maxSocket:
		return Endpoint{}, fmt.Errorf("the path of a Unix socket is %d bytes long; at most %d are possible", len(socket), maxSocket)
	case strings.ContainsRune(socket, 0):
		return Endpoint{}, errors.New("the path of a Unix socket holds a NUL")
	}
	return Endpoint{Scheme: "unix", Host: "localhost", Socket: path.Clean(socket)}, nil
}

// String returns the endpoint as [ParseEndpoint] reads it, without Address.
func (e Endpoint) String() string {
	if e.Scheme == "unix" {
		return "unix:" + e.Socket
	}
	return e.Scheme + "://" + e.Host + e.Base
}

// target returns where u is at this endpoint.
func (e Endpoint) target(u *url.URL) *url.URL {
	out := *u
	out.Scheme, out.Host = "http", e.Host
	if e.Scheme == "https" {
		out.Scheme = "https"
	}
	if e.Base == "" {
		return &out
	}
	escaped := e.Base + u.EscapedPath()
	if plain, err := url.PathUnescape(escaped); err == nil { // both halves come from parsed URLs
		out.Path, out.RawPath = plain, escaped
	}
	return &out
}

// dialed returns what is dialed for the endpoint: its socket, the address it
// was resolved to, or its host with the port.
func (e Endpoint) dialed() (network, address string) {
	switch {
	case e.Socket != "":
		return "unix", e.Socket
	case e.Address != "":
		return "tcp", e.Address
	}
	if _, _, err := net.SplitHostPort(e.Host); err == nil {
		return "tcp", e.Host
	}
	port := "80"
	if e.Scheme == "https" {
		port = "443"
	}
	return "tcp", net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(e.Host, "["), "]"), port)
}
