package grpcpool

import "time"

// Stats is the state of a Pool at one moment. Counters begin with the pool and
// only grow; gauges say what is now.
type Stats struct {
	Target   string         `json:"target"`
	Channels []ChannelStats `json:"channels"`
	// Others is how many other pools this process has for the target, which
	// share nothing with this one.
	Others int `json:"others"`

	InFlight int `json:"in_flight"` // calls
	Waiting  int `json:"waiting"`   // calls, for their turn

	Calls   uint64 `json:"calls"`   // asked of the pool
	Opened  uint64 `json:"opened"`  // channels
	Closed  uint64 `json:"closed"`  // channels
	Waits   uint64 `json:"waits"`   // calls that waited for their turn
	GaveUp  uint64 `json:"gave_up"` // of these, whose context ended first
	Refused uint64 `json:"refused"` // calls, since too many waited

	Waited      time.Duration `json:"waited_ns"`       // all waits together, those under way not included
	LongestWait time.Duration `json:"longest_wait_ns"` // of one call
}

// ChannelStats is the state of one channel.
type ChannelStats struct {
	ID     uint64    `json:"id"` // from 1, in the order of opening
	Opened time.Time `json:"opened"`
	// State is what gRPC says: IDLE, CONNECTING, READY, TRANSIENT_FAILURE; and
	// Since is when it became so.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Retiring: it is surplus, and ends with the calls it has.
	Retiring bool `json:"retiring"`
	// Connections is how many there are, one for each address that answers;
	// 0 if a service config names another balancing policy than the pool's.
	Connections int    `json:"connections"`
	InFlight    int    `json:"in_flight"` // calls
	Calls       uint64 `json:"calls"`     // it got
	// Reason is why a connection, its making, a lookup of its address or a
	// call with [codes.Unavailable] failed, the last time, at most 512 bytes;
	// ReasonAt is when. "" if all went well.
	Reason   string    `json:"reason,omitempty"`
	ReasonAt time.Time `json:"reason_at,omitzero"`
}

// counts are the counters of a pool.
type counts struct {
	calls, opened, closed, waits, gaveUp, refused uint64

	waited, longest time.Duration
}

// Stats returns the state of the pool now.
func (p *Pool) Stats() Stats {
	others := p.siblings.others()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{
		Target: p.target, Others: others,
		InFlight: p.load, Waiting: p.waiters.Len(),
		Calls: p.counts.calls, Opened: p.counts.opened, Closed: p.counts.closed,
		Waits: p.counts.waits, GaveUp: p.counts.gaveUp, Refused: p.counts.refused,
		Waited: p.counts.waited, LongestWait: p.counts.longest,
	}
	for _, c := range p.channels {
		s.Channels = append(s.Channels, ChannelStats{
			ID: c.id, Opened: c.opened, State: c.state.String(), Since: c.since, Retiring: c.retiring,
			Connections: c.ready, InFlight: c.load, Calls: c.calls, Reason: c.reason, ReasonAt: c.reasonAt,
		})
	}
	return s
}
