package daemon

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// transferStatus is a stream or an upgraded connection that a route forwards.
type transferStatus struct {
	Route      string     `json:"route"`
	Kind       string     `json:"kind"` // body, websocket or upgrade
	Remote     string     `json:"remote"`
	Since      time.Time  `json:"since"`
	ToClient   flowStatus `json:"to_client"`
	ToUpstream flowStatus `json:"to_upstream"`
	Unsent     *int       `json:"unsent_bytes,omitempty"` // in the kernel, to the client; where that is known
}

type flowStatus struct {
	Bytes    int64     `json:"bytes"`
	Buffered int64     `json:"buffered_bytes"`  // read here and not yet written
	Waiting  float64   `json:"waiting_seconds"` // of the write in progress
	Last     time.Time `json:"last,omitzero"`   // when bytes were last written
}

func flowOf(f proxy.Flow) flowStatus {
	return flowStatus{Bytes: f.Bytes, Buffered: f.Buffered, Waiting: f.Waiting.Seconds(), Last: f.Last}
}

// transfers returns at most limit of what the routes forward that is no small
// answer, those first that have waited the longest for somebody to read.
func (d *daemon) transfers(limit int) []transferStatus {
	list := []transferStatus{}
	for _, site := range d.sites() {
		for _, r := range site.routes {
			for _, t := range r.proxy.Transfers(limit) {
				s := transferStatus{
					Route: r.label, Kind: t.Kind, Remote: t.Remote, Since: t.Since,
					ToClient: flowOf(t.ToClient), ToUpstream: flowOf(t.ToUpstream),
				}
				if t.Unsent >= 0 {
					s.Unsent = &t.Unsent
				}
				list = append(list, s)
			}
		}
	}
	waiting := func(s transferStatus) float64 { return max(s.ToClient.Waiting, s.ToUpstream.Waiting) }
	slices.SortFunc(list, func(a, b transferStatus) int {
		return cmp.Or(cmp.Compare(waiting(b), waiting(a)), a.Since.Compare(b.Since))
	})
	return list[:min(limit, len(list))]
}

// backlogs tells the metrics what waits, by route.
func (d *daemon) backlogs() map[string]observe.Backlog {
	by := make(map[string]observe.Backlog)
	for _, site := range d.sites() {
		for _, r := range site.routes {
			buffered, blocked := r.proxy.Backlog()
			b := by[r.label]
			by[r.label] = observe.Backlog{Bytes: b.Bytes + buffered, Blocked: b.Blocked + blocked}
		}
	}
	return by
}

// relayMetrics tells the metrics what forwarded WebSockets carry.
func (d *daemon) relayMetrics() observe.Relays {
	of := func(f *websocket.RelayFlow) observe.Relayed {
		return observe.Relayed{Messages: f.Messages.Load(), Bytes: f.Bytes.Load(), Deflated: f.Deflated.Load(), DeflatedBytes: f.DeflatedBytes.Load()}
	}
	return observe.Relays{Client: of(&d.relayed.FromClient), Upstream: of(&d.relayed.FromUpstream)}
}
