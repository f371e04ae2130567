package capture

import (
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// counters only grow.
type counters struct {
	captured, attached, resumed, served, events, bursts, ends, faults, cancels, evicted atomic.Uint64
}

func (c *counters) finished(fault *fairlead.Error) {
	switch {
	case fault == nil:
		c.ends.Add(1)
	case fault.Code == fairlead.Cancelled:
		c.cancels.Add(1)
	default:
		c.faults.Add(1)
	}
}

// Stats counts what a Store holds and has done.
type Stats struct {
	Calls    int   // upstream calls in progress
	Live     int   // streams being recorded
	Finished int   // streams kept after their end
	Bytes    int64 // held by both, at most

	Captured  uint64 // responses recorded
	Attached  uint64 // repeats of a request answered from a recorded response
	Resumed   uint64 // reconnects on the original URL answered so
	Served    uint64 // readers of a stream's own URL
	Events    uint64 // events, or pieces of other bodies, recorded
	Bursts    uint64 // times that 8 events or more came at once after 250 ms of silence, as from a hop that buffers
	Ended     uint64 // streams that ended completely
	Faulted   uint64 // streams whose upstream broke
	Cancelled uint64 // streams that were cancelled, or whose readers left
	Evicted   uint64 // streams forgotten
}

// Stats returns the state of the store.
func (st *Store) Stats() Stats {
	st.mu.Lock()
	st.sweep(time.Now())
	s := Stats{Calls: len(st.calls), Live: len(st.streams) - st.finished.Len(), Finished: st.finished.Len(), Bytes: st.bytes.Load()}
	st.mu.Unlock()
	c := &st.count
	s.Captured, s.Attached, s.Resumed, s.Served = c.captured.Load(), c.attached.Load(), c.resumed.Load(), c.served.Load()
	s.Events, s.Bursts, s.Ended, s.Faulted, s.Cancelled = c.events.Load(), c.bursts.Load(), c.ends.Load(), c.faults.Load(), c.cancels.Load()
	s.Evicted = c.evicted.Load()
	return s
}

// Info describes one stream to its operator.
type Info struct {
	Hash    string        // a short hash of the id, which itself is a secret
	State   string        // live, ended or fault
	Fault   string        // code of the fault
	Bytes   int64         // retained, at most
	Events  int           // retained
	Readers int           // attached
	Age     time.Duration // since its request
}

// Streams describes up to limit streams, in no order.
func (st *Store) Streams(limit int) []Info {
	st.mu.Lock()
	streams := make([]*stream, 0, min(limit, len(st.streams)))
	for _, s := range st.streams {
		if len(streams) >= limit {
			break
		}
		streams = append(streams, s)
	}
	st.mu.Unlock()
	infos := make([]Info, len(streams))
	for i, s := range streams {
		infos[i] = s.info()
	}
	return infos
}

func (s *stream) info() Info {
	events := s.log.Stats().Events
	s.mu.Lock()
	defer s.mu.Unlock()
	i := Info{Hash: s.short(), State: s.phase.String(), Bytes: s.size, Events: events, Readers: s.readers, Age: time.Since(s.begun)}
	if s.fault != nil {
		i.Fault = string(s.fault.Code)
	}
	return i
}
