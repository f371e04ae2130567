package daemon

import (
	"encoding/json"
	"net/http"
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
	Sessions    []noticedSession          `json:"sessions"`
	AllSessions int                       `json:"sessions_total"`
	Transports  map[string]int            `json:"transports"`
	Captured    []capturedStatus          `json:"captured"`
	InFlight    map[string]int            `json:"in_flight"`
	Topics      []topicStatus             `json:"topics"`
	AllTopics   int                       `json:"topics_total"`
	Pools       []consolePool             `json:"pools"`
	Routes      []consoleRoute            `json:"routes"`
	Reuse       consoleReuse              `json:"reuse"`
	Compression consoleCompression        `json:"compression"`
	Events      float64                   `json:"events"`
	Closed      map[string]float64        `json:"closed"`
	Ended       map[string]float64        `json:"ended"`
}

type consolePool struct {
	upstream.Snapshot

	Ring []upstream.Event `json:"ring"` // the last first
}

type consoleRoute struct {
	Route  string  `json:"route"`
	Method string  `json:"method"`
	Count  uint64  `json:"count"`
	P50    float64 `json:"p50"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
}

type consoleReuse struct {
	First   float64 `json:"first"`
	Further float64 `json:"further"`
}

type consoleCompression struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
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
	return console.New(console.Config{Snapshot: d.consoleSnapshot, Leaving: d.base.Done()})
}

func (d *daemon) consoleSnapshot() []byte {
	s, err := d.metrics.Summary()
	if err != nil {
		d.log.Error("the console has no metrics", "error", err)
	}
	page := consolePage{
		Now: time.Now(), Version: Version(), Draining: d.draining(), Demo: d.options.demo(),
		Listeners: d.listenerPage(), Clients: noticeClients(d.clients(maxShown)), Transports: make(map[string]int),
		Captured: d.capturedStreams(maxShown), InFlight: d.flights.byRoute(), Pools: d.consolePools(), Routes: consoleRoutes(s.Routes),
		Reuse: consoleReuse{s.First, s.Further}, Compression: consoleCompression{s.Before, s.After},
		Events: s.Events, Closed: s.Closed, Ended: s.Ended,
	}
	page.Topics, page.AllTopics = d.topics("", maxShown)
	for _, site := range d.sites() {
		if site.readers != nil {
			for transport, n := range site.readers.Transports() {
				page.Transports[transport] += n
				page.AllSessions += n
			}
		}
	}
	page.Sessions = []noticedSession{}
	for _, one := range d.sessions(maxShown) {
		page.Sessions = append(page.Sessions, noticedSession{one, noticeSession(&one)})
	}
	text, err := json.Marshal(page)
	if err != nil {
		panic(err) // text and numbers always marshal
	}
	return text
}

func consoleRoutes(all []observe.RouteSummary) []consoleRoute {
	routes := make([]consoleRoute, len(all))
	for i, r := range all {
		routes[i] = consoleRoute{r.Route, r.Method, r.Count, r.P50, r.P90, r.P99}
	}
	return routes
}

func (d *daemon) consolePools() []consolePool {
	pages := d.poolPages()
	pools := pages.pools()
	all := []consolePool{}
	for _, s := range pages.snapshots() {
		events, _ := pools[s.Name].Events(0)
		ring := []upstream.Event{}
		for i := len(events) - 1; i >= 0 && len(ring) < maxRing; i-- {
			ring = append(ring, events[i])
		}
		all = append(all, consolePool{s, ring})
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
