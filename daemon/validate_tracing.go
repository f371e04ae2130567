package daemon

import (
	"net/netip"
	"net/url"
	"strings"
)

// tracing looks at where spans go.
func (v *validator) tracing() {
	t := &v.cfg.Tracing
	if t.Endpoint != "" {
		u, err := url.Parse(t.Endpoint)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			v.reportf("tracing.endpoint", "want the URL of a collector, like http://127.0.0.1:4318, or \"\" for no tracing")
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			v.reportf("tracing.endpoint", "the collector's URL has a scheme, a host and a path, and nothing else; "+
				"a token for it belongs in the variable OTEL_EXPORTER_OTLP_HEADERS")
		}
	}
	if t.Deliveries < 0 {
		v.reportf("tracing.deliveries", "deliveries is negative; 0 is none")
	}
}

// collectorURL adds the path that OTLP has, where the URL has none.
func collectorURL(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && strings.Trim(u.Path, "/") == "" {
		return u.JoinPath("v1", "traces").String()
	}
	return endpoint
}

// containing returns what reports whether a range has the address.
func containing(a netip.Addr) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.Contains(a) }
}
