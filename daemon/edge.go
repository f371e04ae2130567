package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/proxy"
)

// TLS says what the https listener shows of itself, and asks for.
type TLS struct {
	Certificates  []Certificate `yaml:"certificates"` // none: one for development
	MinVersion    TLSVersion    `yaml:"min_version"`
	ClientCA      Content       `yaml:"client_ca"`      // whose clients may show certificates; none: nobody is asked
	RequireClient bool          `yaml:"require_client"` // and must
	TicketKeys    Path          `yaml:"ticket_keys"`    // of a fleet; none: keys of this process
}

// Certificate names the files of a certificate and its key.
type Certificate struct {
	Cert Path `yaml:"cert"`
	Key  Path `yaml:"key"`
}

// TLSVersion is the lowest version of TLS over TCP, "1.2" or "1.3".
type TLSVersion uint16

func (v *TLSVersion) parse(text string) error {
	return choose(v, text, choice[TLSVersion]{"1.2", tls.VersionTLS12}, choice[TLSVersion]{"1.3", tls.VersionTLS13})
}

// HTTP3 adjusts HTTP/3, which https serves on the UDP port of its number. It
// may be written as true or false alone.
type HTTP3 struct {
	Enabled   bool `yaml:"enabled"`
	WebSocket bool `yaml:"websocket"` // RFC 9220
	Port      int  `yaml:"port"`      // to announce; 0: that of https
}

func (h *HTTP3) word(text string) error {
	return choose(&h.Enabled, text, choice[bool]{"true", true}, choice[bool]{"false", false})
}

// Timeouts bound how long clients may take; 0 is no bound.
type Timeouts struct {
	Header Duration `yaml:"header"` // a TLS handshake, and a request's header
	Body   Duration `yaml:"body"`   // each next part of a body, before the response
	Idle   Duration `yaml:"idle"`   // a connection without a request
	Age    Duration `yaml:"age"`    // a connection, before it is asked to end
}

func (c *Config) pairs() []listen.Pair {
	pairs := make([]listen.Pair, len(c.TLS.Certificates))
	for i, p := range c.TLS.Certificates {
		pairs[i] = listen.Pair{Cert: p.Cert.file(), Key: p.Key.file()}
	}
	return pairs
}

// clientCAs returns nil when nobody is asked for a certificate.
func (t *TLS) clientCAs() (*x509.CertPool, error) {
	return (&ClientTLS{CA: t.ClientCA}).roots()
}

func (c *Config) timeouts() listen.Timeouts {
	t := c.Timeouts
	return listen.Timeouts{
		Header: time.Duration(orNone(t.Header)), Body: time.Duration(orNone(t.Body)),
		Idle: time.Duration(orNone(t.Idle)), MaxAge: time.Duration(orNone(t.Age)),
	}
}

func (c *Config) connectionLimits() listen.Limits {
	l := c.Limits
	return listen.Limits{
		Connections: l.Connections, // 0 is the room's default too
		PerAddress:  orNone(l.ConnectionsPerAddress), Rate: orNone(l.ConnectionRate),
		Streams: l.RequestsPerConnection, HeaderBytes: int(l.Header), Exempt: c.trusted(),
	}
}

// fewConnections is fewer than a server for streams should be limited to by an
// accident of the system's.
const fewConnections = 1000

// descriptorWarning returns what to say of a process that may open so many
// descriptors and is to have so many connections, 0 for as many as it can; "" when
// that goes together.
func descriptorWarning(descriptors, connections int) string {
	fit := descriptors / 5 * 4 // the rest is for files and upstreams
	switch {
	case connections > fit:
		return fmt.Sprintf("limits.connections is %d, and there are %d descriptors, enough for %d: set LimitNOFILE=%d in the service's unit,"+
			" raise ulimit -Hn before the start, or lower the limit", connections, descriptors, fit, connections/4*5+5)
	case connections == 0 && fit < fewConnections:
		return fmt.Sprintf("there are %d descriptors, enough for %d connections: set LimitNOFILE=65536 in the service's unit, or raise ulimit -Hn before the start",
			descriptors, fit)
	}
	return ""
}

// refused answers a request on a connection beyond a limit. An event stream is
// told to come back, for any other answer ends an EventSource for good.
func (d *daemon) refused(w http.ResponseWriter, r *http.Request, why listen.Refusal) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.Method == http.MethodGet && acceptsEvents(r) {
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		wait := why.RetryAfter + rand.N(why.RetryAfter+1) //nolint:gosec // spreads load, guards nothing
		id := ""
		if last := r.Header.Get("Last-Event-Id"); last != "" {
			id = "id: " + last + "\n"
		}
		fmt.Fprintf(w, "retry: %d\nevent: fairlead.draining\n%sdata: {\"retry_after_ms\":%d}\n\n", wait.Milliseconds(), id, wait.Milliseconds()) //nolint:gosec // no page
		return
	}
	code := fairlead.Overloaded
	if why.Status == http.StatusTooManyRequests {
		code = fairlead.RateLimited
	}
	e := fairlead.Errorf(code, "%s", why.Reason)
	e.RetryAfter = why.RetryAfter
	proxy.Problem(w, r, e)
}

func acceptsEvents(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/event-stream")
}
