package upstream

import "time"

// Event is something that happened to a pool, and why.
type Event struct {
	Seq      uint64    `json:"seq"` // rising by one
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // opened, closed, dial_failed, ejected, returned, unhealthy, healthy, endpoint_added, endpoint_removed, learned, refused, retried, panic
	Endpoint string    `json:"endpoint,omitempty"`
	Conn     uint64    `json:"conn,omitempty"`   // see ConnectionInfo.ID
	Reason   string    `json:"reason,omitempty"` // one word of a fixed set, such as a CloseReason
	Why      string    `json:"why"`              // for people
}

// maxEvents is how many events a pool remembers.
const maxEvents = 256
