package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead/topic"
)

// validator looks for what no single value shows. It says nothing about values
// that were not read: what is wrong with those is told already.
type validator struct {
	cfg     *Config
	read    func(path string) bool // whether the value there was
	written func(path string) bool // whether it stands in the file
	tell    func(path, what string)
}

// reportf tells what is wrong with the value at path.
func (v *validator) reportf(path, format string, args ...any) {
	if v.read(path) {
		v.tell(path, fmt.Sprintf(format, args...))
	}
}

func (v *validator) all() {
	v.listeners()
	v.edge()
	v.access()
	v.upstreams()
	v.routes()
	v.topics()
	v.limits()
	v.tracing()
	v.metrics()
}

func (v *validator) listeners() {
	for path, address := range map[string]string{"http": v.cfg.HTTP, "https": v.cfg.HTTPS, "admin": v.cfg.Admin} {
		if err := checkAddress(address); err != nil {
			v.reportf(path, "%s", err)
		}
	}
	switch {
	case !v.read("http") || !v.read("https") || !v.read("admin"):
		return
	case v.cfg.HTTP == "" && v.cfg.HTTPS == "" && v.cfg.Admin == "":
		v.reportf("http", "http, https and admin are all off; there is nothing to serve")
	case same(v.cfg.HTTP, v.cfg.HTTPS):
		v.reportf("https", "https is the address of http; give it another port")
	case same(v.cfg.HTTP, v.cfg.Admin):
		v.reportf("admin", "admin is the address of http; give it another port")
	case same(v.cfg.HTTPS, v.cfg.Admin):
		v.reportf("admin", "admin is the address of https; give it another port")
	}
	if v.cfg.Admin != "" && !isLoopback(v.cfg.Admin) && v.cfg.AdminToken == "" && v.read("admin_token") {
		v.reportf("admin", "the admin listener is open to others at %s; set admin_token (FAIRLEAD_ADMIN_TOKEN), or bind it to 127.0.0.1", v.cfg.Admin)
	}
}

// same reports whether two listeners cannot both be bound.
func same(a, b string) bool { return a != "" && a == b && !strings.HasSuffix(a, ":0") }

// checkAddress reports why a listener cannot be bound to address; "" is off.
func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address; write host:port, like 127.0.0.1:8080, or :8080 for every interface", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("port %q has leading zeros", port)
	}
	if host != "" && strings.ContainsAny(host, " /@") {
		return fmt.Errorf("%q is not a host", host)
	}
	return nil
}

// isLoopback reports whether only this machine can reach the address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (v *validator) access() {
	if p := v.cfg.TopicsPrefix; p != "" {
		pattern, err := ParsePattern(p)
		if err != nil || !strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || !pattern.isLiteral() {
			v.reportf("topics_prefix", "%q is not a prefix; write one like /topics, without wildcards or a slash at the end, or \"\" to turn the topics off", p)
		} else if p == ownPaths || strings.HasPrefix(p, ownPaths+"/") {
			v.reportf("topics_prefix", "%s is where captured streams live; use another prefix", ownPaths)
		}
	}
	for i, h := range v.cfg.Hosts {
		if h == "" || strings.ContainsAny(h, ":/@* ") && !isIPv6(h) {
			v.reportf(index("hosts", i), "%q is not a host name; write it without scheme, port and wildcard, like api.example.com", h)
		}
	}
	for i, o := range v.cfg.CORS {
		if o == "*" {
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			v.reportf(index("cors", i), "%q is not an origin; write scheme://host, with the port if it has one, or \"*\" for any", o)
		}
	}
	if err := checkWord(v.cfg.Log.Level, "debug", "info", "warn", "error"); err != nil {
		v.reportf("log.level", "%s", err)
	}
	if err := checkWord(v.cfg.Log.Format, "auto", "text", "json"); err != nil {
		v.reportf("log.format", "%s", err)
	}
}

func isIPv6(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is6()
}

func checkWord(word string, known ...string) error {
	if slices.Contains(known, word) {
		return nil
	}
	return fmt.Errorf("%q is not one of %s", word, strings.Join(known, ", "))
}

func (v *validator) routes() {
	seen := make(map[string]bool, len(v.cfg.Routes))
	for i := range v.cfg.Routes {
		r, at := &v.cfg.Routes[i], index("routes", i)
		switch path := r.Path.String(); {
		case !v.read(at + ".path"):
		case r.Path.segments == nil:
			v.reportf(at, "the route has no path; give it one, like path: /v1/**")
		case seen[path]:
			v.reportf(at+".path", "there is a route for /%s already", path)
		default:
			seen[path] = true
		}
		if _, ok := v.cfg.Upstreams[r.Upstream]; !ok && v.read("upstreams") && v.read(at+".upstream") {
			known := slices.Sorted(maps.Keys(v.cfg.Upstreams))
			switch {
			case r.Upstream == "":
				v.reportf(at, "the route has no upstream; name one of upstreams")
			case len(known) == 0:
				v.reportf(at+".upstream", "there is no upstream %q; define it under upstreams", r.Upstream)
			default:
				v.reportf(at+".upstream", "there is no upstream %q; there are: %s", r.Upstream, strings.Join(known, ", "))
			}
		}
		v.positive(at+".capture.max_event", int64(r.Capture.MaxEvent))
		if r.Capture.MaxEvent > v.cfg.Limits.CapturedStream && v.read("limits.captured_stream") {
			v.reportf(at+".capture.max_event", "an event of %s is over limits.captured_stream, %s", r.Capture.MaxEvent, v.cfg.Limits.CapturedStream)
		}
		if Duration(r.Capture.OnDisconnect) > v.cfg.Limits.CapturedKeep && v.read("limits.captured_keep") {
			v.reportf(at+".capture.on_disconnect", "a linger over limits.captured_keep (%s) outlives what could be resumed", v.cfg.Limits.CapturedKeep)
		}
	}
}

func (v *validator) topics() {
	seen := make(map[string]bool, len(v.cfg.Topics))
	for i := range v.cfg.Topics {
		t, at := &v.cfg.Topics[i], index("topics", i)
		switch match := t.Match.String(); {
		case !v.read(at + ".match"):
		case t.Match.segments == nil:
			v.reportf(at, "the topic has no match; give it one, like match: \"prices/*\"")
		case seen[match]:
			v.reportf(at+".match", "there is a policy for %s already", match)
		default:
			seen[match] = true
		}
		v.positive(at+".retain.events", int64(t.Retain.Events))
		v.positive(at+".retain.bytes", int64(t.Retain.Bytes))
		v.positive(at+".retain.age", int64(t.Retain.Age))
		v.positive(at+".wait_timeout", int64(t.WaitTimeout))
		if t.Deliver.Deliver == topic.Newest && t.Deliver.Newest > t.Retain.Events && v.read(at+".retain.events") {
			v.reportf(at+".deliver", "newest %d keeps more than retain.events, %d", t.Deliver.Newest, t.Retain.Events)
		}
	}
}

// maxFlushDelay is the longest that events may be held back: readers that wait
// for longer want a policy of the topic's, such as at most 1/s.
const maxFlushDelay = time.Second

func (v *validator) limits() {
	l := &v.cfg.Limits
	v.positive("limits.body", int64(l.Body))
	v.positive("limits.topics", int64(l.Topics))
	v.positive("limits.topics_per_connection", int64(l.TopicsPerConnection))
	v.positive("limits.message", int64(l.Message))
	v.positive("limits.captured_stream", int64(l.CapturedStream))
	v.positive("limits.captured_total", int64(l.CapturedTotal))
	v.positive("limits.captured_keep", int64(l.CapturedKeep))
	if l.SlowReader != 0 && l.SlowReader < Duration(minSlow) && v.read("limits.slow_reader") {
		v.reportf("limits.slow_reader", "%s is too short to tell who is slow: readers are looked at every %s; want %s or more, or 0s for never",
			l.SlowReader, Duration(sweepEvery), Duration(minSlow))
	}
	if l.CapturedStream > l.CapturedTotal && v.read("limits.captured_total") {
		v.reportf("limits.captured_stream", "one stream of %s is over limits.captured_total, %s", l.CapturedStream, l.CapturedTotal)
	}
	if h := time.Duration(v.cfg.Heartbeat); h < time.Second || h > time.Hour {
		v.reportf("heartbeat", "a heartbeat every %s: want one between 1s and 1h", v.cfg.Heartbeat)
	}
	if d := time.Duration(v.cfg.Fanout.FlushDelay); d < 0 || d > maxFlushDelay {
		v.reportf("fanout.flush_delay", "a delay of %s: want one up to %s, such as 20ms, or 0s for none", v.cfg.Fanout.FlushDelay, Duration(maxFlushDelay))
	}
	if v.cfg.Drain.Window > v.cfg.Drain.Deadline && v.read("drain.deadline") {
		v.reportf("drain.window", "the window, %s, is longer than drain.deadline, %s", v.cfg.Drain.Window, v.cfg.Drain.Deadline)
	}
}

func (v *validator) positive(path string, n int64) {
	if n <= 0 {
		v.reportf(path, "%s is 0 or less; it must be more", lastKey(path))
	}
}

// lastKey is the key of the value at path.
func lastKey(path string) string { return path[strings.LastIndex(path, ".")+1:] }

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// place returns where the value at path stands, or what holds it.
func place(at map[string]position, path string) (position, bool) {
	for path != "" {
		if p, ok := at[path]; ok {
			return p, true
		}
		i := strings.LastIndexAny(path, ".[")
		path = path[:max(i, 0)]
	}
	return position{}, false
}

func byPosition(a, b located) int {
	return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column), cmp.Compare(a.what, b.what))
}
