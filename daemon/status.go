package daemon

import (
	"net/http"

	"github.com/fairlead-edge/fairlead/observe"
)

// sources tell the metrics what there is.
func (d *daemon) sources() observe.Sources {
	return observe.Sources{
		Topics: func() int { return d.site.Load().topics.Len() },
		Captured: func() observe.Captured {
			s := d.site.Load().captured.Stats()
			return observe.Captured{Live: s.Live, Ended: s.Finished, Bytes: s.Bytes}
		},
		InFlight: d.flights.byRoute,
		Draining: d.draining,
	}
}

type connectionsPage struct {
	Captured []capturedStatus `json:"captured"`  // at most maxListed
	Relays   map[string]int   `json:"relays"`    // upgraded connections, by route
	InFlight map[string]int   `json:"in_flight"` // requests and streams, by route
}

type capturedStatus struct {
	Stream  string  `json:"stream"` // a short hash of the id
	State   string  `json:"state"`
	Fault   string  `json:"fault,omitempty"`
	Events  int     `json:"events"`
	Bytes   int64   `json:"bytes"`
	Readers int     `json:"readers"`
	Age     float64 `json:"age_seconds"`
}

func (d *daemon) serveConnections(w http.ResponseWriter, _ *http.Request) {
	s := d.site.Load()
	page := connectionsPage{Captured: []capturedStatus{}, Relays: map[string]int{}, InFlight: d.flights.byRoute()}
	for _, i := range s.captured.Streams(maxListed) {
		page.Captured = append(page.Captured, capturedStatus{i.Hash, i.State, i.Fault, i.Events, i.Bytes, i.Readers, i.Age.Seconds()})
	}
	for _, r := range s.routes {
		if n := r.proxy.Relays(); n > 0 {
			page.Relays[r.label] = n
		}
	}
	writeJSON(w, page)
}
