package daemon

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/observe"
)

// sources tell the metrics what there is.
func (d *daemon) sources() observe.Sources {
	return observe.Sources{
		Transports: deliver.Transports(),
		Topics:     func() int { return d.site.Load().topics.Len() },
		Captured: func() observe.Captured {
			s := d.site.Load().captured.Stats()
			return observe.Captured{Live: s.Live, Ended: s.Finished, Bytes: s.Bytes, Events: s.Events, Bursts: s.Bursts}
		},
		InFlight:  d.flights.byRoute,
		Backlogs:  d.backlogs,
		Relays:    d.relayMetrics,
		Readers:   d.readerMetrics,
		Pools:     d.poolPages().metrics,
		Listeners: d.listenerMetrics,
		Coders: func() observe.Coders {
			b := d.site.Load().coders.budget
			return observe.Coders{Bytes: b.Used(), Limit: b.Limit(), Refused: b.Refused()}
		},
		Spans:    func() *observe.Spans { return d.tracing.Spans() },
		Draining: d.draining,
	}
}

type connectionsPage struct {
	Listeners map[string]listenerStatus `json:"listeners"`
	// Of each list at most maxListed; totals are of what there is.
	Clients     []clientStatus   `json:"clients"` // without those of the engine's sessions, the newest first
	AllClients  int              `json:"clients_total"`
	Sessions    []sessionStatus  `json:"sessions"` // those first that lag the most
	AllSessions int              `json:"sessions_total"`
	Captured    []capturedStatus `json:"captured"`
	AllCaptured int              `json:"captured_total"`
	Transfers   []transferStatus `json:"transfers"`
	Relays      map[string]int   `json:"relays"`    // upgraded connections, by route
	InFlight    map[string]int   `json:"in_flight"` // requests and streams, by route
}

type sessionStatus struct {
	Transport    string          `json:"transport"`
	Remote       string          `json:"remote"`
	Since        time.Time       `json:"since"`
	Resumed      bool            `json:"resumed"`
	Spoke        bool            `json:"spoke"` // its client has sent a message
	Events       uint64          `json:"events"`
	Bytes        uint64          `json:"bytes"`
	Gaps         uint64          `json:"gaps"`
	Lag          uint64          `json:"lag"`                    // events, of all topics
	Buffered     int             `json:"buffered_bytes"`         // wait to be written
	Unsent       *int            `json:"unsent_bytes,omitempty"` // in the kernel; where that is known
	LastReceived time.Time       `json:"last_received"`
	Engine       bool            `json:"engine"` // serves it
	Path         *pathStatus     `json:"path,omitempty"`
	Topics       []readingStatus `json:"topics"`       // at most deliver.MaxReadings
	AllTopics    int             `json:"topics_total"` // that it reads
}

// pathStatus is what the kernel, or QUIC, knows of the network to a client.
type pathStatus struct {
	RTT         float64 `json:"rtt_seconds"`
	RTTVar      float64 `json:"rtt_var_seconds"`
	Retransmits uint64  `json:"retransmits"`
	Unanswered  float64 `json:"unanswered_seconds"` // nothing was acknowledged, though it was sent again
}

func newPathStatus(rtt, rttVar time.Duration, retransmits uint64, unanswered time.Duration) *pathStatus {
	return &pathStatus{rtt.Seconds(), rttVar.Seconds(), retransmits, unanswered.Seconds()}
}

type readingStatus struct {
	Topic   string          `json:"topic"`
	Cursor  fairlead.Cursor `json:"cursor"`
	Lag     uint64          `json:"lag"`
	Skipped uint64          `json:"skipped"`
}

func statusOf(i deliver.SessionInfo) sessionStatus {
	s := sessionStatus{
		Transport: i.Transport, Remote: i.Remote, Since: i.Since, Resumed: i.Resumed, Spoke: i.Spoke, Events: i.Events, Bytes: i.Bytes, Gaps: i.Gaps, Lag: i.Lag,
		Buffered: i.Buffered, LastReceived: i.LastReceived, Engine: i.Engine, AllTopics: i.Reads, Topics: make([]readingStatus, len(i.Topics)),
	}
	if i.Unsent >= 0 {
		s.Unsent = &i.Unsent
	}
	if p := i.Path; p != nil {
		s.Path = newPathStatus(p.RTT, p.RTTVar, p.Retransmits, p.Unanswered)
	}
	for j, t := range i.Topics {
		s.Topics[j] = readingStatus{t.Topic, t.Cursor, t.Lag, t.Skipped}
	}
	return s
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

// sessions returns at most limit of the readers of topics, those first that lag
// the most.
func (d *daemon) sessions(limit int) []sessionStatus {
	list := []sessionStatus{}
	for _, site := range d.sites() {
		if site.readers != nil {
			for _, i := range site.readers.Sessions(limit) {
				list = append(list, statusOf(i))
			}
		}
		slices.SortStableFunc(list, func(a, b sessionStatus) int { return cmp.Compare(b.Lag, a.Lag) })
		list = list[:min(limit, len(list))]
	}
	return list
}

func (d *daemon) serveConnections(w http.ResponseWriter, _ *http.Request) {
	page := connectionsPage{
		Listeners: d.listenerPage(), Sessions: d.sessions(maxListed),
		Relays: map[string]int{}, Transfers: d.transfers(maxListed), InFlight: d.flights.byRoute(),
	}
	page.Clients, page.AllClients = d.clients(maxListed)
	page.Captured, page.AllCaptured = d.capturedStreams(maxListed)
	for _, n := range d.transports() {
		page.AllSessions += n
	}
	for _, site := range d.sites() {
		for _, r := range site.routes {
			if n := r.proxy.Relays(); n > 0 {
				page.Relays[r.label] += n
			}
		}
	}
	writeJSON(w, page)
}

// capturedStreams returns at most limit of them, and how many there are.
func (d *daemon) capturedStreams(limit int) (list []capturedStatus, total int) {
	store := d.site.Load().captured
	list = []capturedStatus{}
	for _, i := range store.Streams(limit) {
		list = append(list, capturedStatus{i.Hash, i.State, i.Fault, i.Events, i.Bytes, i.Readers, i.Age.Seconds()})
	}
	slices.SortFunc(list, func(a, b capturedStatus) int {
		return cmp.Or(cmp.Compare(a.Age, b.Age), strings.Compare(a.Stream, b.Stream))
	})
	s := store.Stats()
	return list, max(s.Live+s.Finished, len(list)) // streams end meanwhile
}

// transports returns how many sessions of readers there are, by their transport.
func (d *daemon) transports() map[string]int {
	all := make(map[string]int)
	for _, site := range d.sites() {
		if site.readers != nil {
			for transport, n := range site.readers.Transports() {
				all[transport] += n
			}
		}
	}
	return all
}
