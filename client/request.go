package client

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

func asError(err error) (*fairlead.Error, bool) { return errors.AsType[*fairlead.Error](err) }

// parseURL reads the URL of a stream or topic. The schemes of WebSockets stand
// for those of HTTP, whatever the transport.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the URL cannot be read: %v", err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the URL %q must begin with http:// or https:// and a host", raw)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// header returns a header of its own for every request.
func (c *Config) header() http.Header {
	h := c.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token)
	}
	return h
}

// checkHeader fails when a value cannot be sent, for which trying again would
// not help.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if !slices.ContainsFunc(values, func(v string) bool { return !sendable(v) }) {
			continue
		}
		return fairlead.Errorf(fairlead.InvalidArgument, "the header %q has a control character in its value", name)
	}
	return nil
}

// sendable reports whether v can be the value of a header (RFC 9110 §5.5).
func sendable(v string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
