package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The thresholds of what is about upstreams, in a window.
const (
	// fewDials is how many connections must fail to be made to one endpoint: a
	// restart costs one or two.
	fewDials = 3
	// fewGoaways is how many connections GOAWAY must end, and goawayEach how many
	// requests there are at most for each of them: servers that turn connections
	// over as they should do so after a thousand requests or more.
	fewGoaways, goawayEach = 3, 200
	// fewStale is how many requests must meet a connection that its endpoint was
	// closing. One is enough where the pool has learned from it to use connections
	// again only within shortReuse seconds, so that few are: no idle timer of a
	// server that is meant to be reused is shorter.
	fewStale, shortReuse = 3, 0.5
	// fewBad is how many requests to one endpoint must have failed, and mostBad which
	// share of all there.
	fewBad, mostBad = 5, 0.5
	// fewRefused is how many requests must have got no connection in time.
	fewRefused = 3
	// fewBursts is how often a captured stream must have brought many events at once
	// after a silence, and burstEach how many events there are at most for each time.
	fewBursts, burstEach = 3, 200
	// old and oldest are between which an event is old, in seconds, that came late:
	// what is older was no hop's to hold, but history. fewLate is how many
	// deliveries must be of such, and mostLate which share of all.
	old, oldest, fewLate, mostLate = 0.5, 60, 20, 0.5
)

// moved tells of endpoints that a name no longer has. New ones alone are no fault.
func moved(w window) string {
	for was, is := range w.pools {
		before, after := members(was), members(is)
		gone, came := without(before, after), without(after, before)
		if len(gone) > 0 {
			failed := w.grew("fairlead_upstream_failures_total", "pool", is.Name)
			return fmt.Sprintf("pool %s: %s gone, %s added; %.0f requests failed meanwhile", is.Name, list(gone), list(came), failed)
		}
		if was.ResolveError == "" && is.ResolveError != "" {
			return fmt.Sprintf("pool %s: its endpoints are no longer told: %s", is.Name, is.ResolveError)
		}
	}
	return ""
}

// members returns the names of a pool's endpoints, without those that are leaving.
func members(p *Pool) (names []string) {
	for i := range p.Endpoints {
		if e := &p.Endpoints[i]; e.State != "draining" {
			names = append(names, e.name())
		}
	}
	return names
}

// without returns those of names that are not among others.
func without(names, others []string) (left []string) {
	for _, name := range names {
		if !slices.Contains(others, name) {
			left = append(left, name)
		}
	}
	return left
}

// dead tells of an endpoint that cannot be used, or to which connections fail.
func dead(w window) string {
	for _, is := range w.pools {
		failed := make(map[string]int)
		for _, e := range w.happened(is.Name) {
			if e.Kind == "dial_failed" {
				failed[e.Endpoint]++
			}
		}
		for i := range is.Endpoints {
			e := &is.Endpoints[i]
			n := failed[e.Endpoint] + failed[e.Address] + failed[e.name()]
			if out := e.State != "ok" && e.State != "draining"; out || n >= fewDials {
				return fmt.Sprintf("pool %s: %s is %s (%s); %d connections to it could not be made; %d of %d endpoints are well",
					is.Name, e.name(), e.State, first(e.Why, "at this moment"), n, well(is), len(is.Endpoints))
			}
		}
	}
	return ""
}

// badAnswers tells of an endpoint that is used, and fails what it is sent.
func badAnswers(w window) string {
	for _, is := range w.pools {
		for i := range is.Endpoints {
			e := &is.Endpoints[i]
			failed := w.grew("fairlead_upstream_endpoint_failures_total", "pool", is.Name, "endpoint", e.Endpoint)
			requests := w.grew("fairlead_upstream_endpoint_requests_total", "pool", is.Name, "endpoint", e.Endpoint)
			if failed >= fewBad && failed > requests*mostBad {
				return fmt.Sprintf("pool %s: of %.0f requests to %s %.0f failed or were answered with a status of 500 or more", is.Name, requests, e.Endpoint, failed)
			}
		}
	}
	return ""
}

// well returns how many endpoints of a pool are used.
func well(p *Pool) (n int) {
	for _, e := range p.Endpoints {
		if e.State == "ok" {
			n++
		}
	}
	return n
}

// goaway tells of upstreams that end their HTTP/2 connections often.
func goaway(w window) string {
	for _, is := range w.pools {
		n := w.grew("fairlead_upstream_connections_closed_total", "pool", is.Name, "reason", "goaway")
		requests := w.grew("fairlead_upstream_requests_total", "pool", is.Name)
		if n >= fewGoaways && requests <= n*goawayEach {
			return fmt.Sprintf("pool %s: GOAWAY ended %.0f connections in %.0f requests; %.0f were sent again for it",
				is.Name, n, requests, w.grew("fairlead_upstream_retries_total", "pool", is.Name, "class", "refused_stream"))
		}
	}
	return ""
}

// stale tells of connections that were closed as a request was sent on them.
func stale(w window) string {
	for _, is := range w.pools {
		n := w.grew("fairlead_upstream_connections_closed_total", "pool", is.Name, "reason", "stale")
		if n == 0 || len(is.Endpoints) == 0 {
			continue
		}
		e := slices.MinFunc(is.Endpoints, func(a, b Endpoint) int { return cmp.Compare(a.ReuseWithin, b.ReuseWithin) })
		if n < fewStale && (e.LearnedIdle == 0 || e.ReuseWithin > shortReuse) {
			continue
		}
		return fmt.Sprintf("pool %s: %.0f connections were closed just as they were used again; %.0f requests were sent again, %.0f failed; %s is now used again within %.3f s",
			is.Name, n, w.grew("fairlead_upstream_retries_total", "pool", is.Name), w.grew("fairlead_upstream_failures_total", "pool", is.Name), e.name(), e.ReuseWithin)
	}
	return ""
}

// exhausted tells of requests that got no connection since all were taken.
func exhausted(w window) string {
	for _, is := range w.pools {
		late := w.grew("fairlead_upstream_refusals_total", "pool", is.Name, "reason", "too_late")
		full := w.grew("fairlead_upstream_refusals_total", "pool", is.Name, "reason", "queue_full")
		if late+full < fewRefused {
			continue
		}
		at := slices.MaxFunc(is.Endpoints, func(a, b Endpoint) int { return a.Waiting - b.Waiting })
		return fmt.Sprintf("pool %s: %.0f requests waited too long for a connection and %.0f found the queue full; %s has %d of %d connections in use, %d wait",
			is.Name, late, full, at.name(), at.Active, at.Max, at.Waiting)
	}
	return ""
}

// list names at most four, and says how many there are besides.
func list(names []string) string {
	const most = 4
	slices.Sort(names)
	names = slices.Compact(names)
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return first(strings.Join(names, ", "), "none")
}

// buffered tells of events that come in bursts, or late.
func buffered(w window) string {
	if bursts, events := w.grew("fairlead_captured_bursts_total"), w.grew("fairlead_captured_events_total"); bursts >= fewBursts && events <= bursts*burstEach {
		return fmt.Sprintf("%.0f times in %s a stream of an upstream brought many events at once after a silence, of %.0f events in all",
			bursts, w.length().Round(100*time.Millisecond), events)
	}
	const age, delay = "fairlead_event_age_seconds", "fairlead_delivery_delay_seconds"
	aged, delayed := w.grew(age+"_count"), w.grew(delay+"_count")
	late, lateHere := w.grewBelow(age, oldest)-w.grewBelow(age, old), delayed-w.grewBelow(delay, old)
	if late < fewLate || late < aged*mostLate || lateHere > delayed*(1-mostLate) {
		return ""
	}
	return fmt.Sprintf("%.0f of %.0f deliveries were of events more than %.1f s old by their publisher's clock, %.1f s on average, of which %.3f s were spent here",
		late, aged, old, w.grew(age+"_sum")/aged, w.grew(delay+"_sum")/max(delayed, 1))
}
