// Package diagnose names what is wrong around a running Fairlead, from nothing but
// what its admin listener shows: /metrics, /connections, /pools with their
// connections and events, and /topics. It compares two [Snapshot]s, one from before
// and one from after a time, by the rules of rules*.go. Their thresholds are the
// constants there; docs/operations.md says of each finding what it means and what to
// do.
package diagnose

import (
	"cmp"
	"fmt"
	"time"
)

// Finding is one fault that is named.
type Finding struct {
	Fault    string // its name, such as "stale pool"
	Evidence string // the numbers that tell
	Do       string // what helps first
	Section  string // of docs/operations.md: the anchor
}

// String is the finding as a line for an operator.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s; %s (docs/operations.md#%s)", f.Fault, f.Evidence, f.Do, f.Section)
}

// rule looks for one fault. tell returns the evidence, "" where there is none. What
// has a fault named earlier for its cause is left to that: unless lists those.
type rule struct {
	fault, do, section string
	unless             []string
	tell               func(window) string
}

// rules stand in the order in which their findings are told: causes before what
// follows from them.
var rules = []rule{
	{
		fault: "descriptor shortage", section: "descriptor-shortage", tell: descriptors,
		do: "raise LimitNOFILE= (or ulimit -n), and see who holds the connections",
	}, {
		fault: "DNS change", section: "dns-change", tell: moved,
		do: "if it was meant, wait until the old addresses are drained; if not, look at the zone",
	}, {
		fault: "dead endpoint", section: "dead-endpoint", unless: []string{"descriptor shortage", "DNS change"}, tell: dead,
		do: "repair the endpoint or take it out of the configuration",
	}, {
		fault: "bad answers", section: "bad-answers", unless: []string{"DNS change", "dead endpoint"}, tell: badAnswers,
		do: "look at the endpoint: it takes requests and fails them",
	}, {
		fault: "GOAWAY", section: "goaway", tell: goaway,
		do: "find what makes the upstream end its connections: a limit of requests or of age, or restarts",
	}, {
		fault: "stale pool", section: "stale-pool", unless: []string{"DNS change", "dead endpoint"}, tell: stale,
		do: "raise the upstream's idle timeout above pool.idle_timeout, or lower the latter",
	}, {
		fault: "exhausted pool", section: "exhausted-pool", unless: []string{"DNS change", "dead endpoint", "GOAWAY"}, tell: exhausted,
		do: "raise pool.max_connections if the upstream can do more, else add endpoints",
	}, {
		fault: "half-open client", section: "half-open-client", tell: halfOpen,
		do: "nothing if it is one; if many, look at the network between here and them",
	}, {
		fault: "slow reader", section: "slow-reader", tell: slow,
		do: "give its topic a policy that skips, or let limits.slow_reader send it away",
	}, {
		fault: "reconnect storm", section: "reconnect-storm", tell: storm,
		do: "find what closes their connections, and spread their retries",
	}, {
		fault: "buffered hop", section: "buffered-hop", tell: buffered,
		do: "turn response buffering off in the proxy that stands before Fairlead's upstream or publisher",
	},
}

// Compare names what happened between two snapshots of one process, causes first;
// nothing on a healthy one. Over less than two seconds little is to be seen, and over
// more than minutes what was short is lost in the rest.
func Compare(before, after *Snapshot) []Finding {
	w := window{before, after}
	var found []Finding
	named := make(map[string]bool)
	for _, r := range rules {
		explained := false
		for _, cause := range r.unless {
			explained = explained || named[cause]
		}
		if explained {
			continue
		}
		if evidence := r.tell(w); evidence != "" {
			named[r.fault] = true
			found = append(found, Finding{r.fault, evidence, r.do, r.section})
		}
	}
	return found
}

// window is the time between two snapshots.
type window struct{ before, after *Snapshot }

func (w window) length() time.Duration {
	return max(w.after.At.Sub(w.before.At), time.Millisecond)
}

// grew returns by how much the counters of a name and labels (in pairs of name and
// value) have grown.
func (w window) grew(name string, labels ...string) float64 {
	return max(0, w.after.Metrics.Sum(name, labels...)-w.before.Metrics.Sum(name, labels...))
}

// grewBelow is grew for what a histogram has counted up to a bound.
func (w window) grewBelow(name string, bound float64) float64 {
	return max(0, w.after.Metrics.Below(name, bound)-w.before.Metrics.Below(name, bound))
}

// most returns which value of a label has grown by how much: the one that has most.
func (w window) most(name, label string) (value string, grew float64) {
	for _, s := range w.after.Metrics[name] {
		v := s.Labels[label]
		if n := w.grew(name, label, v); n > grew {
			value, grew = v, n
		}
	}
	return value, grew
}

// pools returns those pools that are in both snapshots, as they were and as they are.
func (w window) pools(yield func(was, is *Pool) bool) {
	for i := range w.after.Pools {
		for j := range w.before.Pools {
			if w.before.Pools[j].Name == w.after.Pools[i].Name && !yield(&w.before.Pools[j], &w.after.Pools[i]) {
				return
			}
		}
	}
}

// happened returns the events of a pool that are of the window.
func (w window) happened(pool string) []Event {
	last := uint64(0)
	if was := w.before.Events[pool]; len(was) > 0 {
		last = was[len(was)-1].Seq
	}
	var events []Event
	for _, e := range w.after.Events[pool] {
		if e.Seq > last {
			events = append(events, e)
		}
	}
	return events
}

// first returns the first text that says something.
func first(texts ...string) string { return cmp.Or(texts...) }
