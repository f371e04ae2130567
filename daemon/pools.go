package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/upstream"
)

// pool is what the admin pages show of an [upstream.Pool].
type pool interface {
	Snapshot() upstream.Snapshot
	Connections(limit int) []upstream.ConnectionInfo
	Events(after uint64) ([]upstream.Event, <-chan struct{})
}

// poolPages are the admin pages about the pools.
type poolPages struct {
	pools   func() map[string]pool // those of the present configuration
	leaving <-chan struct{}        // closed when the drain begins
}

func (d *daemon) poolPages() *poolPages {
	return &poolPages{leaving: d.leaving, pools: func() map[string]pool {
		pools := make(map[string]pool)
		for name, p := range d.site.Load().pools {
			pools[name] = p
		}
		return pools
	}}
}

// snapshots returns the state of all pools, by name.
func (p *poolPages) snapshots() []upstream.Snapshot { return snapshots(p.pools()) }

func snapshots(pools map[string]pool) []upstream.Snapshot {
	all := make([]upstream.Snapshot, 0, len(pools))
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		s := pools[name].Snapshot()
		s.Name, s.Endpoints = name, append([]upstream.EndpointSnapshot{}, s.Endpoints...) // in JSON never null
		all = append(all, s)
	}
	return all
}

// metrics returns what the metrics tell of all pools.
func (p *poolPages) metrics() []observe.Pool {
	var all []observe.Pool
	for _, s := range p.snapshots() {
		o := observe.Pool{
			Name: s.Name, Requests: s.Requests, Failed: s.Failed, Attempts: s.Attempts, Reused: s.Reused,
			Dials: s.Dials, Closes: s.Closes, Retries: s.Retries, Refusals: s.Refusals,
			Wait: observe.Distribution(s.Wait), DNS: observe.Distribution(s.DNS), Connect: observe.Distribution(s.Connect),
			TLS: observe.Distribution(s.TLS), FirstByte: observe.Distribution(s.FirstByte),
			AgeAtClose: observe.Distribution(s.AgeAtClose), UsedAtClose: observe.Distribution(s.UsedAtClose),
			Suggested: s.Suggest.Connections, Duplicates: s.Duplicates,
		}
		for _, e := range s.Endpoints {
			name := e.Endpoint
			if e.Address != "" {
				name += " (" + e.Address + ")"
			}
			o.Endpoints = append(o.Endpoints, observe.PoolEndpoint{
				Name: name, Up: e.State == "ok", Idle: e.Idle, Active: e.Active, Dialing: e.Dialing, Draining: e.Draining,
				InFlight: e.InFlight, Waiting: e.Waiting, Requests: e.Requests, Failures: e.Failures,
			})
		}
		all = append(all, o)
	}
	return all
}

// connectionsOf counts the connections of a pool, those in the making left out.
func connectionsOf(s *upstream.Snapshot) (n int) {
	for _, e := range s.Endpoints {
		n += e.Idle + e.Active + e.Draining
	}
	return n
}

// summary writes a line for each pool.
func (p *poolPages) summary(w io.Writer) {
	for _, s := range p.snapshots() {
		out := 0
		for _, e := range s.Endpoints {
			if e.State != "ok" {
				out++
			}
		}
		fmt.Fprintf(w, "  %s: %s", s.Name, counted(len(s.Endpoints), "endpoint"))
		if out > 0 {
			fmt.Fprintf(w, " (%d out)", out)
		}
		fmt.Fprintf(w, ", %s", counted(connectionsOf(&s), "connection"))
		if n := s.Suggest.Connections; n > 0 {
			fmt.Fprintf(w, ", suggest %d", n)
			if of := max(1, len(s.Endpoints)-out); len(s.Endpoints) > 1 {
				fmt.Fprintf(w, " (max_connections: %d)", (n+of-1)/of) // which is for each endpoint
			}
		}
		fmt.Fprintf(w, ": %s\n", s.Suggest.Why)
	}
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

func (p *poolPages) serveList(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		Pools []upstream.Snapshot `json:"pools"`
	}{p.snapshots()})
}

// named returns the pool of the request's path, nil after it has answered that
// there is none.
func (p *poolPages) named(w http.ResponseWriter, r *http.Request) pool {
	pools := p.pools()
	if found, ok := pools[r.PathValue("name")]; ok {
		return found
	}
	text := "there are no pools: the configuration has no upstream"
	if len(pools) > 0 {
		text = "the pools are " + strings.Join(slices.Sorted(maps.Keys(pools)), ", ")
	}
	proxy.Problem(w, r, fairlead.Errorf(fairlead.NotFound, "there is no pool %.64q; %s", r.PathValue("name"), text))
	return nil
}

func (p *poolPages) serveConnections(w http.ResponseWriter, r *http.Request) {
	pool := p.named(w, r)
	if pool == nil {
		return
	}
	s := pool.Snapshot()
	page := struct {
		Total       int                       `json:"total"` // connections there are; at most maxListed are listed
		Connections []upstream.ConnectionInfo `json:"connections"`
	}{connectionsOf(&s), pool.Connections(maxListed)}
	if page.Connections == nil {
		page.Connections = []upstream.ConnectionInfo{}
	}
	writeJSON(w, page)
}

// serveEvents serves what happens to a pool as an event stream, or what is
// remembered of it as JSON.
func (p *poolPages) serveEvents(w http.ResponseWriter, r *http.Request) {
	pool := p.named(w, r)
	if pool == nil {
		return
	}
	after, err := eventsAfter(r)
	if err != nil {
		proxy.Problem(w, r, err)
		return
	}
	w.Header().Set("Vary", "Accept")
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, sse.ContentType) {
		events, _ := pool.Events(after)
		writeJSON(w, struct {
			Skipped uint64           `json:"skipped"` // events after that asked for which are no longer remembered
			Events  []upstream.Event `json:"events"`
		}{skipped(after, events), append([]upstream.Event{}, events...)})
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", sse.ContentType)
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // the server's is for requests
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // its deadlines are not for a next response
	}
	out, err := sse.NewWriter(w)
	if err != nil {
		return // the reader has gone
	}
	defer out.Close()
	s := &poolStream{pages: p, name: r.PathValue("name"), pool: pool, after: after, out: out}
	s.run(r)
}

// eventsAfter returns after which event the reader wants to go on: where its
// stream broke, or what the query says; 0 is all that is remembered.
func eventsAfter(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	if text == "" {
		return 0, nil
	}
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fairlead.Errorf(fairlead.InvalidArgument, "%.64q is no id of an event; leave it out to get all that are remembered", text)
	}
	return after, nil
}

// skipped returns how many events are missing between after and events.
func skipped(after uint64, events []upstream.Event) uint64 {
	if len(events) == 0 || events[0].Seq <= after {
		return 0
	}
	return events[0].Seq - after - 1
}

// poolStream is one reader of a pool's events.
type poolStream struct {
	pages *poolPages
	name  string
	pool  pool
	after uint64 // the last event sent
	out   *sse.Writer
	frame []byte
}

// poolHeartbeat is the longest silence on a stream of events, below what
// networks take for a dead connection.
const poolHeartbeat = 15 * time.Second

// poolLook is how often a stream of events looks whether a reload has replaced
// its pool.
const poolLook = time.Second

// run sends until the reader or the pool has gone, or the drain begins. Each
// ends the stream as it should, so that the reader comes back.
func (s *poolStream) run(r *http.Request) {
	// Many readers that lose a server do not return at once.
	retry := time.Second + rand.N(2*time.Second)
	if s.out.Position("", retry) != nil {
		return
	}
	look := time.NewTicker(poolLook)
	defer look.Stop()
	last := time.Now()
	for {
		sent, more, err := s.send()
		if err != nil {
			return
		}
		if sent {
			last = time.Now()
		}
		select {
		case <-more:
		case <-look.C:
			if time.Since(last) >= poolHeartbeat {
				if s.out.Comment("") != nil {
					return
				}
				last = time.Now()
			}
		case <-r.Context().Done():
			return
		case <-s.pages.leaving:
			_ = s.out.Position("", retry) // who has gone need not be told
			return
		}
		if now, ok := s.pages.pools()[s.name]; !ok {
			return
		} else if now != s.pool {
			s.pool = now
			s.another()
		}
	}
}

// another tells the reader that events are another pool's from here on, and
// are counted anew.
func (s *poolStream) another() {
	s.frame = s.append(sse.Event{HasID: true, Type: "fairlead.replaced", Data: []byte("{}")})
	s.after = 0
}

// send sends what there is to send, in one write.
func (s *poolStream) send() (sent bool, more <-chan struct{}, err error) {
	events, more := s.pool.Events(s.after)
	if len(events) > 0 && events[0].Seq <= s.after {
		s.another() // the reader's id is from before a restart
	}
	if n := skipped(s.after, events); n > 0 {
		s.frame = s.append(sse.Event{Type: "fairlead.gap", Data: fmt.Appendf(nil, `{"skipped":%d}`, n)})
	}
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			panic(err) // text and numbers always marshal
		}
		s.frame = s.append(sse.Event{ID: strconv.FormatUint(e.Seq, 10), Type: e.Kind, Data: data})
		s.after = e.Seq
	}
	if len(s.frame) == 0 {
		return false, more, nil
	}
	_, err = s.out.Write(s.frame)
	s.frame = s.frame[:0] // at most what the pool remembers
	return true, more, err
}

func (s *poolStream) append(e sse.Event) []byte {
	frame, err := sse.Append(s.frame, e)
	if err != nil {
		panic(err) // ids are numbers and kinds are words
	}
	return frame
}
