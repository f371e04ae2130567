package daemon

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// checkHost lets requests through that are for this server. On a loopback
// address those are for loopback names, so that a web page cannot reach it
// under a name of its own (DNS rebinding); elsewhere an empty list allows all.
func checkHost(hosts []string, loopback bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect && !websocket.IsHandshake(r) {
			refuseConnect(w, r)
			return
		}
		host := hostname(r.Host)
		named := loopback && isLoopbackName(host) || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })
		absolute := r.URL.Host != "" // RFC 9112 §3.2.2: what forward proxies are sent
		if absolute && r.URL.Scheme != "http" && r.URL.Scheme != "https" {
			proxy.Problem(w, r, fairlead.Errorf(fairlead.MisdirectedRequest, "this server is not a forward proxy; send the path alone"))
			return
		}
		if !named && (loopback || absolute || len(hosts) > 0) {
			proxy.Problem(w, r, fairlead.Errorf(fairlead.MisdirectedRequest, "this server does not serve the host of the request; the key hosts of its configuration lists those it does"))
			return
		}
		if absolute {
			r = r.WithContext(r.Context()) // a copy
			r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
		}
		next.ServeHTTP(w, r)
	})
}

// refuseConnect answers a CONNECT that opens no WebSocket: 501 to another
// protocol than that (RFC 8441 §4, RFC 9220 §3), which no resource speaks, and
// 405 to one for a tunnel.
func refuseConnect(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 || r.Header.Get(":protocol") == "" {
		proxy.Problem(w, r, fairlead.Errorf(fairlead.MethodNotAllowed, "CONNECT is refused: this server is not a forward proxy"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotImplemented)
	_, _ = io.WriteString(w, `{"title":"Not implemented","status":501,"detail":"the only :protocol of an extended CONNECT that this server speaks is websocket"}`)
}

// hostname returns a Host header's host, without port and brackets.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

func isLoopbackName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// sameOrigin refuses requests of web pages from elsewhere: with an Origin that
// is not the server's own, or without one but marked as cross-site.
func sameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		foreign := site == "cross-site"
		if origin != "" {
			u, err := url.Parse(origin)
			foreign = err != nil || !strings.EqualFold(u.Host, r.Host)
		}
		if foreign {
			proxy.Problem(w, r, fairlead.Errorf(fairlead.PermissionDenied, "a page of another origin may not do this"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// needToken asks for the token, unless it is empty.
func needToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("Www-Authenticate", `Bearer realm="fairlead admin"`)
			proxy.Problem(w, r, fairlead.Errorf(fairlead.Unauthenticated, "send the admin_token as Authorization: Bearer TOKEN"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
