package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
)

// watchConnections returns who counts and logs the connections of a listener.
func (d *daemon) watchConnections(listener string) listen.Observer {
	o := listen.Observer{
		Shaken: func(h listen.Handshake) { d.shaken(listener, &h) },
		Ended:  func(e listen.Ended) { d.endedConnection(listener, &e) },
	}
	if !d.counts {
		return o
	}
	count := d.metrics.Connections(listener)
	if listener == plainListener {
		d.plain = count
	}
	o.Heard, o.Requested, o.Idled = count.Heard, count.Requested, count.Idled
	o.Shaken = func(h listen.Handshake) {
		count.Shaken(h.Took, h.QUIC, tlsVersion(h.Version), h.Resumed)
		d.shaken(listener, &h)
	}
	o.Ended = func(e listen.Ended) {
		count.Ended(e.Protocol, string(e.Reason), e.Lasted, e.Requests)
		d.endedConnection(listener, &e)
	}
	return o
}

// endedConnection makes the record, and the span, of a connection that has ended.
func (d *daemon) endedConnection(listener string, e *listen.Ended) {
	d.left(e)
	if e.Reason == listen.RefusedByLimit { // of which there may be any number: the limit is logged once a minute
		return
	}
	d.recordConnection(listener, e.Remote, observe.Protocol(e.Protocol), string(e.Reason), e.Lasted, func() []slog.Attr {
		attrs := []slog.Attr{slog.Int64("requests", e.Requests)}
		if e.TLS {
			attrs = append(attrs, slog.String("tls", tlsVersion(e.Version)), slog.Bool("resumed", e.Resumed))
		}
		if p, ok := e.Path(); ok {
			attrs = append(attrs, slog.Uint64("sent_bytes", p.Sent), slog.Uint64("received_bytes", p.Received), slog.Float64("rtt_seconds", p.RTT.Seconds()))
		}
		return attrs
	})
}

// recordConnection logs the end of a connection, unless it is one of those that are
// left out; more is asked for what else there is to say.
func (d *daemon) recordConnection(listener, remote, protocol, reason string, lasted time.Duration, more func() []slog.Attr) {
	share := &d.site.Load().logs.connections
	if !share.next() {
		return
	}
	attrs := append([]slog.Attr{
		slog.String("listener", listener), slog.String("client", remote), slog.String("protocol", protocol),
		slog.Float64("duration_seconds", lasted.Seconds()), slog.String("reason", reason),
	}, more()...)
	if share.sampled {
		attrs = append(attrs, slog.Float64("sample", share.share))
	}
	d.access.LogAttrs(context.Background(), slog.LevelInfo, "connection", attrs...)
}

// closeReason says of a connection that a session had taken over why it ended, in
// the words of package listen where those fit.
func closeReason(session fairlead.Code) string {
	switch session {
	case "":
		return string(listen.ClosedByResponse)
	case fairlead.Cancelled:
		return string(listen.ClosedByClient)
	case fairlead.Draining:
		return string(listen.ClosedByDrain)
	}
	return string(session)
}

// tlsVersion is as people write it: 1.3.
func tlsVersion(v uint16) string { return strings.TrimPrefix(tls.VersionName(v), "TLS ") }

// clientStatus is a connection of a client, which net/http or quic-go serves.
type clientStatus struct {
	Listener string      `json:"listener"`
	Remote   string      `json:"remote"`
	Protocol string      `json:"protocol"`
	TLS      string      `json:"tls,omitempty"` // version
	Resumed  bool        `json:"resumed,omitempty"`
	Since    time.Time   `json:"since"`
	State    string      `json:"state"` // new, active or idle
	Requests int64       `json:"requests"`
	Active   int         `json:"active"`       // of them
	Idle     float64     `json:"idle_seconds"` // since the last one ended
	Path     *pathStatus `json:"path,omitempty"`
	// Bytes that it has acknowledged, and that came, with what TLS adds; of QUIC those of packets.
	Sent     *uint64 `json:"sent_bytes,omitempty"`
	Received *uint64 `json:"received_bytes,omitempty"`
}

func stateOf(c *listen.ConnStatus) string {
	switch {
	case c.Active > 0:
		return "active"
	case c.Requests > 0:
		return "idle"
	}
	return "new"
}

// clients returns at most limit of the connections of clients, of all listeners the
// newest first, and how many there are.
func (d *daemon) clients(limit int) (list []clientStatus, total int) {
	list = []clientStatus{}
	for _, s := range d.servers {
		total += s.Listed()
		for _, c := range s.Connections(limit) {
			one := clientStatus{
				Listener: s.name, Remote: c.Remote, Protocol: observe.Protocol(c.Protocol), Resumed: c.Resumed, Since: c.Since,
				State: stateOf(&c), Requests: c.Requests, Active: c.Active, Idle: c.Idle.Seconds(),
			}
			if c.Version != 0 {
				one.TLS = tlsVersion(c.Version)
			}
			if p := c.Path; p != nil {
				one.Path = newPathStatus(p.RTT, p.RTTVar, p.Retransmits, p.Unanswered)
				one.Sent, one.Received = &p.Sent, &p.Received
			}
			list = append(list, one)
		}
	}
	slices.SortStableFunc(list, func(a, b clientStatus) int { return b.Since.Compare(a.Since) })
	list = list[:min(limit, len(list))]
	return list, max(total, len(list)) // connections come while they are counted
}
