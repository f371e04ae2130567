package daemon

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/console"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/upstream"
)

const (
	// maxShown bounds each list of the console, which is sent once a second.
	maxShown = 200
	// maxRing bounds the events of a pool there.
	maxRing = 30
)

// consolePage is what the console shows.
type consolePage struct {
	Now         time.Time                 `json:"now"`
	Version     string                    `json:"version"`
	Draining    bool                      `json:"draining"`
	Demo        bool                      `json:"demo"` // there is a demonstration
	Listeners   map[string]listenerStatus `json:"listeners"`
	Clients     []noticedClient           `json:"clients"`
	AllClients  int                       `json:"clients_total"`
	Sessions    []noticedSession          `json:"sessions"`
	AllSessions int                       `json:"sessions_total"`
	Transports  map[string]int            `json:"transports"`
	Captured    []capturedStatus          `json:"captured"`
	AllCaptured int                       `json:"captured_total"`
	InFlight    map[string]int            `json:"in_flight"`
	Topics      []topicStatus             `json:"topics"`
	AllTopics   int                       `json:"topics_total"`
	Pools       []consolePool             `json:"pools"`
	// The rest is null without metrics.
	Routes      []observe.RouteSummary `json:"routes"`
	AllRoutes   *int                   `json:"routes_total"`
	Reuse       *observe.Reuse         `json:"reuse"`
	Compression *observe.Compression   `json:"compression"`
	Events      *float64               `json:"events"`
	Closed      map[string]float64     `json:"closed"`
	Ended       map[string]float64     `json:"ended"`
}

type consolePool struct {
	upstream.Snapshot

	AllEndpoints int              `json:"endpoints_total"`
	Ring         []upstream.Event `json:"ring"` // the last first
}

// noticedClient and noticedSession say what of a connection is against its nature.
type noticedClient struct {
	clientStatus

	Notice string `json:"notice,omitempty"`
}

type noticedSession struct {
	sessionStatus

	Notice string `json:"notice,omitempty"`
}

// newConsole returns the console of this server.
func (d *daemon) newConsole() *console.Console {
	c := &consoleSource{d: d, summary: d.metrics.Summary}
	return console.New(console.Config{Snapshot: c.snapshot, Leaving: d.base.Done()})
}

// consoleSource makes the pages of a console, one at a time.
type consoleSource struct {
	d       *daemon
	summary func(limit int) (observe.Summary, error)
	failed  bool // the last summary, which is logged once
}

func (c *consoleSource) snapshot() []byte {
	text, err := json.Marshal(c.page())
	if err != nil {
		panic(err) // text and numbers always marshal
	}
	return text
}

func (c *consoleSource) page() *consolePage {
	d := c.d
	page := &consolePage{
		Now: time.Now(), Version: Version(), Draining: d.draining(), Demo: d.options.demo(),
		Listeners: d.listenerPage(), Sessions: []noticedSession{}, Transports: d.transports(),
		InFlight: d.flights.byRoute(), Pools: consolePools(d.poolPages().pools()),
	}
	if s := c.metrics(); s != nil {
		page.Routes, page.AllRoutes, page.Reuse, page.Compression = s.Routes, &s.AllRoutes, &s.Reuse, &s.Compression
		page.Events, page.Closed, page.Ended = &s.Events, s.Closed, s.Ended
	}
	clients, n := d.clients(maxShown)
	page.Clients, page.AllClients = noticeClients(clients), n
	page.Captured, page.AllCaptured = d.capturedStreams(maxShown)
	page.Topics, page.AllTopics = d.topics("", maxShown)
	for _, n := range page.Transports {
		page.AllSessions += n
	}
	for _, one := range d.sessions(maxShown) {
		page.Sessions = append(page.Sessions, noticedSession{one, noticeSession(&one)})
	}
	return page
}

// metrics returns what is counted, nil where nothing is.
func (c *consoleSource) metrics() *observe.Summary {
	if !c.d.counts {
		return nil
	}
	s, err := c.summary(maxShown)
	if err != nil && !c.failed {
		c.d.log.Error("the console has no metrics", "error", err)
	}
	if c.failed = err != nil; c.failed {
		return nil
	}
	return &s
}

// consolePools returns what is shown of the pools, by name.
func consolePools(pools map[string]pool) []consolePool {
	all := []consolePool{}
	for _, s := range snapshots(pools) {
		one := consolePool{s, len(s.Endpoints), []upstream.Event{}}
		if len(s.Endpoints) > maxShown { // those that are out are what people look for
			slices.SortStableFunc(s.Endpoints, func(a, b upstream.EndpointSnapshot) int {
				switch in := a.State == "ok"; {
				case in == (b.State == "ok"):
					return 0
				case in:
					return 1
				}
				return -1
			})
			one.Endpoints = s.Endpoints[:maxShown]
		}
		events, _ := pools[s.Name].Events(0)
		for i := len(events) - 1; i >= 0 && len(one.Ring) < maxRing; i-- {
			one.Ring = append(one.Ring, events[i])
		}
		all = append(all, one)
	}
	return all
}

// settled is how long a connection is watched before something is said of its use.
const settled = 10 * time.Second

// noticeSession names a session that another kind would serve as well.
func noticeSession(s *sessionStatus) string {
	if s.Transport == deliver.TransportWebSocket && !s.Spoke && time.Since(s.Since) > settled {
		return "its client has said nothing: an event stream would do"
	}
	return ""
}

// noticeClients names those that ask again and again.
func noticeClients(all []clientStatus) []noticedClient {
	noticed := make([]noticedClient, len(all))
	for i, c := range all {
		noticed[i].clientStatus = c
		// Browsers ask for much at once; who asks more than once a second for as long
		// as this, one after the other, polls.
		age := time.Since(c.Since)
		if c.Protocol == "h1" && age > settled && float64(c.Requests) > age.Seconds() && c.Listener != "admin" {
			noticed[i].Notice = "asks more than once a second: if it polls, let it subscribe"
		}
	}
	return noticed
}

// serveShed sends a share of the readers of topics away: POST /shed?topic=PATTERN,
// transport=NAME, share=0.5.
func (d *daemon) serveShed(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	share, err := strconv.ParseFloat(q.Get("share"), 64)
	if err != nil || !(share > 0 && share <= 1) {
		proxy.Problem(w, r, fairlead.Errorf(fairlead.InvalidArgument, "share is how many of the readers, above 0 and up to 1"))
		return
	}
	pattern, transport := q.Get("topic"), q.Get("transport")
	if pattern == "" {
		pattern = anyMany
	}
	meant, err := ParsePattern(pattern)
	if err != nil {
		proxy.Problem(w, r, fairlead.Errorf(fairlead.InvalidArgument, "topic is a pattern of topics: %s", strings.TrimPrefix(err.Error(), "daemon: ")))
		return
	}
	sent := 0
	for _, site := range d.sites() {
		if site.readers == nil {
			continue
		}
		sent += site.readers.Shed(share, func(s deliver.SessionInfo) bool {
			if transport != "" && s.Transport != transport {
				return false
			}
			for _, at := range s.Topics {
				if meant.Match(at.Topic) {
					return true
				}
			}
			return false
		})
	}
	d.log.Info("readers are sent away, as asked", "readers", sent, "topics", pattern, "transport", transport)
	writeJSON(w, map[string]int{"sent": sent})
}
