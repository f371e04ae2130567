package daemon

import "github.com/fairlead-edge/fairlead/observe"

// listenerStatus is what /connections says of an address.
type listenerStatus struct {
	Address string            `json:"address"`
	Open    map[string]int    `json:"open"` // by protocol
	Opened  uint64            `json:"opened"`
	Closed  uint64            `json:"closed"`
	Refused map[string]uint64 `json:"refused"` // by limit
}

func (d *daemon) listenerPage() map[string]listenerStatus {
	page := make(map[string]listenerStatus, len(d.servers))
	for _, s := range d.servers {
		m := s.metrics()
		page[s.name] = listenerStatus{s.url, m.Open, m.Opened, s.Stats().Closed, m.Refused}
	}
	return page
}

func (d *daemon) listenerMetrics() []observe.Listener {
	all := make([]observe.Listener, len(d.servers))
	for i, s := range d.servers {
		all[i] = s.metrics()
	}
	return all
}

func (s *server) metrics() observe.Listener {
	n := s.Stats()
	return observe.Listener{
		Name: s.name, Opened: n.Opened,
		Open:    map[string]int{"h1": n.HTTP1, "h2": n.HTTP2, "h3": n.HTTP3, "unknown": n.Unknown},
		Refused: map[string]uint64{"total": n.Full, "address": n.PerAddress, "rate": n.Rate},
	}
}
