package diagnose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Admin is the admin listener of a running Fairlead. It is safe for concurrent use.
type Admin struct {
	// URL is where it is, such as http://127.0.0.1:9090.
	URL string
	// Token is its admin_token; "" is none.
	Token string
	// Client makes the requests; nil is http.DefaultClient. One that keeps a
	// connection still gets an answer when the process has no descriptor left.
	Client *http.Client
}

// Snapshot is what the admin listener shows at one moment.
type Snapshot struct {
	At          time.Time
	Metrics     Metrics
	Connections Connections
	Pools       []Pool
	Events      map[string][]Event      // by pool, oldest first
	Upstream    map[string][]Connection // by pool
	Topics      []Topic
}

// Connections is /connections, as far as the rules read it.
type Connections struct {
	Clients  []Client  `json:"clients"`
	Sessions []Session `json:"sessions"`
}

// Client is a client's connection. Those of sessions that Fairlead's engine serves are
// none of them: their Session has all there is.
type Client struct {
	Remote string `json:"remote"`
	Path   Path   `json:"path"`
}

// Session is one reader of topics.
type Session struct {
	Transport string    `json:"transport"`
	Remote    string    `json:"remote"`
	Since     time.Time `json:"since"`
	Events    uint64    `json:"events"`
	Lag       uint64    `json:"lag"`
	Buffered  int       `json:"buffered_bytes"`
	Unsent    int       `json:"unsent_bytes"`
	Path      Path      `json:"path"`
}

// Path is what is known of the network to a client.
type Path struct {
	Unanswered float64 `json:"unanswered_seconds"` // in which nothing was acknowledged
}

// Pool is one of /pools.
type Pool struct {
	Name         string     `json:"name"`
	Endpoints    []Endpoint `json:"endpoints"`
	ResolveError string     `json:"resolve_error"`
}

// Endpoint is one of a Pool.
type Endpoint struct {
	Endpoint string `json:"endpoint"`
	Address  string `json:"address"`
	State    string `json:"state"` // ok, unhealthy, ejected, backoff, draining
	Why      string `json:"why"`
	Active   int    `json:"active"`
	Waiting  int    `json:"waiting"`
	Max      int    `json:"max_connections"`

	LearnedIdle float64 `json:"learned_idle_seconds"`
	ReuseWithin float64 `json:"reuse_within_seconds"`
}

// name is what tells an endpoint from the others.
func (e *Endpoint) name() string {
	if e.Address == "" {
		return e.Endpoint
	}
	return e.Endpoint + " (" + e.Address + ")"
}

// Event is one of /pools/NAME/events.
type Event struct {
	Seq      uint64 `json:"seq"`
	Kind     string `json:"kind"`
	Endpoint string `json:"endpoint"`
	Reason   string `json:"reason"`
	Why      string `json:"why"`
}

// Connection is one of /pools/NAME/connections.
type Connection struct {
	ID       uint64 `json:"id"`
	Endpoint string `json:"endpoint"`
	State    string `json:"state"`
	Requests uint64 `json:"requests"`
}

// Topic is one of /topics.
type Topic struct {
	Name    string `json:"name"`
	Total   uint64 `json:"total"`
	Readers int    `json:"readers"`
}

// Snapshot asks for everything, once.
func (a *Admin) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{At: time.Now(), Events: make(map[string][]Event), Upstream: make(map[string][]Connection)}
	text, err := a.get(ctx, "/metrics", "text/plain")
	if err != nil {
		return nil, err
	}
	if s.Metrics, err = ParseMetrics(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	var pools struct{ Pools []Pool }
	var topics struct{ Topics []Topic }
	for _, page := range []struct {
		path string
		into any
	}{{"/connections", &s.Connections}, {"/pools", &pools}, {"/topics", &topics}} {
		if err := a.read(ctx, page.path, page.into); err != nil {
			return nil, err
		}
	}
	s.Pools, s.Topics = pools.Pools, topics.Topics
	for _, p := range s.Pools {
		var events struct{ Events []Event }
		var conns struct{ Connections []Connection }
		path := "/pools/" + url.PathEscape(p.Name)
		if err := a.read(ctx, path+"/events", &events); err != nil {
			return nil, err
		}
		if err := a.read(ctx, path+"/connections", &conns); err != nil {
			return nil, err
		}
		s.Events[p.Name], s.Upstream[p.Name] = events.Events, conns.Connections
	}
	return s, nil
}

func (a *Admin) read(ctx context.Context, path string, into any) error {
	text, err := a.get(ctx, path, "application/json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("diagnose: %s: %w", path, err)
	}
	return nil
}

// maxPage bounds what is read of one page, in bytes: 10,000 connections fit.
const maxPage = 64 << 20

func (a *Admin) get(ctx context.Context, path, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(a.URL, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("diagnose: %w", err)
	}
	req.Header.Set("Accept", accept)
	if a.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("diagnose: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return nil, fmt.Errorf("diagnose: %s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("diagnose: %s: answered with %s", path, res.Status)
	}
	return text, nil
}

// key is all of a sample's labels but the bound of a bucket.
func (s Sample) key() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if name != "le" {
			fmt.Fprintf(&b, "%s=%q,", name, s.Labels[name])
		}
	}
	return b.String()
}
