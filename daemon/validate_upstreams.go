package daemon

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (v *validator) upstreams() {
	for name, u := range v.cfg.Upstreams {
		at := "upstreams." + name
		v.endpoints(at, name, u.Endpoints)
		v.connections(at+".pool", &u)
		v.health(at+".health", &u)
		v.outliers(at+".outliers", &u.Outliers)
		v.clientTLS(at+".tls", &u)
	}
}

func (v *validator) endpoints(at, name string, all []Endpoint) {
	if len(all) == 0 && v.read(at+".endpoints") {
		v.reportf(at, "upstream %q has no endpoints; give it at least one, like endpoints: [http://127.0.0.1:9000]", name)
	}
	seen := make(map[string]bool, len(all))
	for i, e := range all {
		if seen[e.plain()] && e != "" {
			v.reportf(index(at+".endpoints", i), "%s is an endpoint of %q already", e, name)
		}
		seen[e.plain()] = true
	}
}

// spoken returns the first endpoint that has one of the schemes; "" if none has.
func (u *Upstream) spoken(schemes ...string) Endpoint {
	for _, e := range u.Endpoints {
		if slices.Contains(schemes, e.scheme()) {
			return e
		}
	}
	return ""
}

func (v *validator) connections(at string, u *Upstream) {
	p := &u.Pool
	for _, c := range []struct {
		key  string
		n    int64
		what string
	}{
		{"max_connections", int64(p.MaxConnections), "no request could be sent"},
		{"max_streams", int64(p.MaxStreams), "no HTTP/2 request could be sent"},
		{"max_dials", int64(p.MaxDials), "no connection could be made"},
		{"dial_timeout", int64(p.DialTimeout), "no connection could be made"},
		{"idle_timeout", int64(p.IdleTimeout), "to use each connection for one request write max_requests: 1"},
		{"wait_timeout", int64(p.WaitTimeout), "to let no request wait write queue: 0"},
		{"attempts", int64(p.Attempts), "to send each request once write 1"},
	} {
		if c.n <= 0 {
			v.reportf(at+"."+c.key, "%s is 0 or less: %s", c.key, c.what)
		}
	}
	v.notNegative(at+".min_idle", p.MinIdle)
	v.notNegative(at+".max_in_flight", p.MaxInFlight)
	v.notNegative(at+".max_requests", p.MaxRequests)
	v.notNegative(at+".queue", p.Queue)

	connections := v.read(at+".max_connections") && p.MaxConnections > 0
	if connections && p.MinIdle > p.MaxConnections {
		v.reportf(at+".min_idle", "min_idle, %d, is over max_connections, %d: it could never be reached", p.MinIdle, p.MaxConnections)
	}
	if e := u.spoken("http", "unix"); e != "" && connections && p.MaxInFlight > p.MaxConnections {
		v.reportf(at+".max_in_flight", "max_in_flight, %d, is over max_connections, %d: to %s each request needs a connection of its own, "+
			"so requests would wait although they are allowed; raise max_connections, or lower this", p.MaxInFlight, p.MaxConnections, e)
	}
	// A default over what is written for the other key does no harm.
	if p.MaxAge > 0 && p.IdleTimeout > p.MaxAge && v.written(at+".idle_timeout") && v.read(at+".max_age") {
		v.reportf(at+".idle_timeout", "idle_timeout, %s, is over max_age, %s: a connection is too old before it has been idle for so long", p.IdleTimeout, p.MaxAge)
	}
}

func (v *validator) health(at string, u *Upstream) {
	h := &u.Health
	for key, d := range map[string]Duration{"interval": h.Interval, "unhealthy_interval": h.UnhealthyInterval, "timeout": h.Timeout} {
		if d < Duration(time.Millisecond) {
			v.reportf(at+"."+key, "%s, %s, is under 1ms; write a longer one, like 5s", key, d)
		}
	}
	v.positive(at+".unhealthy", int64(h.Unhealthy))
	v.positive(at+".healthy", int64(h.Healthy))
	if h.Timeout > h.Interval && v.written(at+".timeout") && v.read(at+".interval") {
		v.reportf(at+".timeout", "timeout, %s, is over interval, %s: the next check would be due before this one is over", h.Timeout, h.Interval)
	}
	if h.Path != "" {
		if target, err := url.ParseRequestURI(h.Path); err != nil || !strings.HasPrefix(h.Path, "/") || target.Host != "" || strings.Contains(h.Path, "#") {
			v.reportf(at+".path", "%q is not a path; write it with a slash before it, like /healthz", h.Path)
		}
	}
	if !v.read(at + ".kind") {
		return
	}
	switch h.Kind {
	case "":
		var idle Upstream
		idle.defaults()
		if h.Path == "" && h.Service == "" && *h != idle.Health && v.read(at+".path") {
			v.reportf(at, "it is not said what is asked; write path: /healthz, kind: tcp or kind: grpc")
		}
	case "http":
	case "grpc":
		if e := u.spoken("http", "unix"); e != "" {
			v.reportf(at+".kind", "gRPC needs HTTP/2, which %s does not speak: write h2c:// or https://", e)
		}
	case "tcp":
	default:
		v.reportf(at+".kind", "%s", checkWord(h.Kind, "http", "tcp", "grpc"))
		return
	}
	if h.Service != "" && h.Kind != "grpc" {
		v.reportf(at+".service", "a service is asked about by kind: grpc only; write that, or remove the service")
	}
	if h.Path != "" && (h.Kind == "tcp" || h.Kind == "grpc") {
		v.reportf(at+".path", "a path is asked for by kind: http only; write that, or remove the path")
	}
}

// maxOut is for how long the pool takes an endpoint out at most.
const maxOut = Duration(5 * time.Minute)

func (v *validator) outliers(at string, o *Outliers) {
	v.notNegative(at+".consecutive", o.Consecutive)
	if o.Off {
		return
	}
	v.positive(at+".min_requests", int64(o.MinRequests))
	v.positive(at+".window", int64(o.Window))
	v.positive(at+".time", int64(o.Time))
	if o.Time > maxOut {
		v.reportf(at+".time", "time, %s, is over %s, which no endpoint is taken out for", o.Time, maxOut)
	}
	if o.MaxShare == 0 {
		v.reportf(at+".max_share", "max_share is 0: to take no endpoint out write outliers: off")
	}
}

func (v *validator) clientTLS(at string, u *Upstream) {
	t := &u.TLS
	if t.isZero() {
		return
	}
	// What a file tells may be https, and so may what could not be read.
	if u.spoken("https", "file") == "" && !slices.Contains(u.Endpoints, "") && len(u.Endpoints) > 0 {
		v.reportf(at, "no endpoint is https://, so there is nobody to be trusted by it; write https:// or remove tls")
	}
	if strings.ContainsAny(t.ServerName, "/@* ") || strings.Contains(t.ServerName, ":") && !isIPv6(t.ServerName) {
		v.reportf(at+".server_name", "%q is not a host name; write it without scheme and port, like api.example.com", t.ServerName)
	}
	if _, err := t.roots(); err != nil {
		v.reportf(at+".ca", "%s", err)
	}
	switch {
	case !v.read(at+".cert") || !v.read(at+".key"):
	case t.Cert.File != "" && t.Key.File == "":
		v.reportf(at+".cert", "the certificate has no key; write key: FILE beside it")
	case t.Cert.File == "" && t.Key.File != "":
		v.reportf(at+".key", "the key has no certificate; write cert: FILE beside it")
	case t.Cert.File != "":
		if _, err := tls.X509KeyPair(t.Cert.content, t.Key.content); err != nil {
			v.reportf(at+".cert", "cert and key do not make a pair: %s", without("tls: ", err))
		}
	}
}

func (v *validator) notNegative(path string, n int) {
	if n < 0 {
		v.reportf(path, "%s is negative; 0 is the least", lastKey(path))
	}
}
