package proxy

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/fairlead-edge/fairlead"
)

// admit refuses what must not be forwarded, before the upstream sees it, and
// notes which upgrade is asked for.
func (h *Handler) admit(x *exchange) error {
	r := x.in
	if h.invalid != nil {
		return h.invalid
	}
	bridge := wantsBridge(r)
	if r.Method == http.MethodConnect && !bridge {
		return fairlead.Errorf(fairlead.MethodNotAllowed, "CONNECT is refused: this server is not a forward proxy")
	}
	if r.URL.Host != "" && !h.answersFor(r) {
		return fairlead.Errorf(fairlead.MisdirectedRequest,
			"the request is for another host: this server is not a forward proxy, so send the path alone")
	}
	if !strings.HasPrefix(r.URL.Path, "/") && (r.URL.Path != "" || r.URL.Host == "") {
		return fairlead.Errorf(fairlead.InvalidArgument, "the request's target must be a path that begins with a slash")
	}
	for _, line := range r.Header["Upgrade"] {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			return fairlead.Errorf(fairlead.InvalidArgument, "the field Upgrade may hold printable ASCII only")
		}
	}
	x.upgrade = requestedUpgrade(r)
	if bridge {
		if err := x.admitBridge(); err != nil {
			return err
		}
		x.upgrade = "websocket"
	}
	if x.upgrade == "" {
		return nil
	}
	if h.cfg.CheckOrigin != nil && !h.cfg.CheckOrigin(r) {
		return fairlead.Errorf(fairlead.PermissionDenied, "a page of this Origin may not open a connection here")
	}
	return nil
}

// answersFor reports whether the authority of a target in absolute form
// (RFC 9112 §3.2.2) is one of ours.
func (h *Handler) answersFor(r *http.Request) bool {
	if s := r.URL.Scheme; s != "http" && s != "https" {
		return false
	}
	is := func(host string) bool { return strings.EqualFold(host, r.URL.Host) }
	if is(h.cfg.Target.Host) || slices.ContainsFunc(h.cfg.Hosts, is) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && is(local.String())
}
