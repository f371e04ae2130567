package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/topic"
)

const adminIndex = `fairlead %s

GET  /healthz                  200 while the process runs
GET  /readyz                   200 while it takes new clients, 503 when it drains
%sGET  /connections              connections of clients, sessions, captured streams, transfers, requests in flight (JSON)
GET  /pools                    connections to the upstreams, in sum (JSON)
GET  /pools/NAME/connections   each of them, and why it was opened (JSON)
GET  /pools/NAME/events        what happens to them, and why (event stream; JSON on request)
GET  /topics?prefix=           topics whose names begin so, and their logs (JSON)
POST /shed?share=0.5           send so many readers away, to come back; of topic=PATTERN, transport=NAME
POST /drain                    go away, as on SIGTERM

pools:
`

// metricsIndex is a line of it, where there are metrics.
const metricsIndex = "GET  /metrics                  Prometheus format\n"

// adminHandler returns the handler of the admin listener; api is nil without the demo.
func (d *daemon) adminHandler(cfg *Config, api *demo) http.Handler {
	pools, page := d.poolPages(), d.newConsole()
	guarded := http.NewServeMux()
	metrics := ""
	if d.counts {
		guarded.Handle("GET /metrics", bounded(d.metrics))
		metrics = metricsIndex
	}
	guarded.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, adminIndex, Version(), metrics)
		pools.summary(w)
	})
	guarded.Handle("GET /connections", bounded(http.HandlerFunc(d.serveConnections)))
	guarded.Handle("GET /pools", bounded(http.HandlerFunc(pools.serveList)))
	guarded.Handle("GET /pools/{name}/connections", bounded(http.HandlerFunc(pools.serveConnections)))
	guarded.HandleFunc("GET /pools/{name}/events", pools.serveEvents)
	guarded.Handle("GET /topics", bounded(http.HandlerFunc(d.serveTopics)))
	guarded.HandleFunc("GET /console/feed", page.Feed)
	guarded.HandleFunc("POST /shed", d.serveShed)
	guarded.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		select {
		case d.asked <- struct{}{}:
		default: // it has been asked already
		}
	})
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	open.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if d.draining() {
			proxy.Problem(w, r, fairlead.Errorf(fairlead.Draining, "this server is going away"))
			return
		}
		fmt.Fprintln(w, "ready")
	})
	inside := needToken(cfg.AdminToken, guarded)
	open.Handle("/", inside)
	open.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "text/html") { // curl's is the list of what there is
			inside.ServeHTTP(w, r)
			return
		}
		page.Page(w, r)
	})
	open.Handle("GET /console/", http.StripPrefix("/console", http.HandlerFunc(page.Page)))
	open.Handle("GET /console/feed", inside)
	if api != nil {
		d.handleDemonstrations(guarded, open, api)
	}
	return checkHost(cfg.Hosts, isLoopback(cfg.Admin), noStore(sameOrigin(open)))
}

// pageTime is how long a client may take to read a page, in all. Streams have bounds of
// their own.
const pageTime = time.Minute

// bounded gives up a page that is not read.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if rc.SetWriteDeadline(time.Now().Add(pageTime)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
		_ = rc.Flush() // the deadline holds for all of it
		_ = rc.SetWriteDeadline(time.Time{})
	})
}

func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// maxListed bounds a list of the admin pages, so that looking at a server does
// not weigh on it.
const maxListed = 10_000

type topicsPage struct {
	Total  int           `json:"total"` // topics there are; at most maxListed are listed
	Topics []topicStatus `json:"topics"`
}

type topicStatus struct {
	Name    string          `json:"name"`
	Policy  string          `json:"policy"`
	Latest  fairlead.Cursor `json:"latest"`
	Events  int             `json:"events"`
	Bytes   int64           `json:"bytes"`
	Total   uint64          `json:"total"`
	Readers int             `json:"readers"`
	Skipped uint64          `json:"skipped"`
	Gaps    uint64          `json:"gaps"`
	Closed  bool            `json:"closed"`
	Fault   string          `json:"fault,omitempty"`
}

func (d *daemon) serveTopics(w http.ResponseWriter, r *http.Request) {
	var page topicsPage
	page.Topics, page.Total = d.topics(r.URL.Query().Get("prefix"), maxListed)
	writeJSON(w, page)
}

// topics returns at most limit of the topics whose names begin so, in their order, and
// how many there are of any name.
func (d *daemon) topics(prefix string, limit int) (list []topicStatus, total int) {
	store := d.site.Load().topics
	list = []topicStatus{}
	for _, l := range firstTopics(store.All(), prefix, limit) {
		s := l.Stats()
		list = append(list, topicStatus{
			s.Name, s.Policy, s.Latest, s.Events, s.Bytes, s.Total, s.Readers, s.Skipped, s.Gaps, s.Closed, s.Fault,
		})
	}
	return list, store.Len()
}

// firstTopics returns at most limit of the topics whose names begin so, in their order,
// and holds and sorts not many more: there may be a million.
func firstTopics(all iter.Seq[*topic.Log], prefix string, limit int) []*topic.Log {
	byName := func(a, b *topic.Log) int { return strings.Compare(a.Name(), b.Name()) }
	var logs []*topic.Log
	beyond := "" // once so many are known, none is meant whose name is as great
	cut := func() {
		slices.SortFunc(logs, byName)
		if len(logs) > limit {
			clear(logs[limit:])
			logs = logs[:limit]
		}
	}
	for l := range all {
		if name := l.Name(); !strings.HasPrefix(name, prefix) || beyond != "" && name >= beyond {
			continue
		}
		if logs = append(logs, l); len(logs) >= 2*limit {
			cut()
			beyond = logs[limit-1].Name()
		}
	}
	cut()
	return logs
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // text and numbers always marshal
	}
	text = numberLists.ReplaceAllFunc(text, func(list []byte) []byte { return bytes.Join(bytes.Fields(list), nil) })
	_, _ = w.Write(append(text, '\n'))
}

// numberLists matches lists of numbers, which people read better on one line. A
// line break is never part of a text in JSON.
var numberLists = regexp.MustCompile(`\[\n[\s0-9.,eE+-]*\]`)
