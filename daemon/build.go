package daemon

import (
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/compress"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/upstream"
)

// site is what serves one configuration.
type site struct {
	cfg       Config
	topics    *topic.Store
	pattern   func(name string) string // that decides about a topic
	policies  map[string]string        // names of delivery policies, by pattern
	logs      logShares
	readers   *deliver.Handler // nil when the topics are off
	rpc       *rpc.Handler     // the same
	coders    *coders
	captured  *capture.Store
	pools     map[string]*upstream.Pool
	routes    []*route
	upstreams map[string]string // by the patterns of routes
	match     rules[*served]
	demo      *demo        // nil unless it is asked for
	retired   []*site      // of earlier configurations, what streams may go on in
	public    http.Handler // of http
	secure    http.Handler // of https
	admin     http.Handler
}

// build is the map of the program: a configuration in, the handlers of both
// listeners out. What of the old site an unchanged part of the configuration
// describes is kept, with its streams; old is nil at the start.
func (d *daemon) build(cfg Config, old *site) (*site, error) {
	s := &site{cfg: cfg, pattern: cfg.topicPattern(), policies: cfg.policyNames()}
	s.logs.configure(&cfg)
	var budget *compress.Budget
	// State: logs of topics, logs of captured streams, upstream connections.
	if old == nil {
		old = &site{}
		budget = compress.NewBudget(int64(cfg.Compress.Memory))
		s.topics = topic.NewStore(topic.StoreConfig{Policy: cfg.policies(), MaxTopics: cfg.Limits.Topics})
		s.captured = capture.NewStore(capture.StoreConfig{
			StreamBytes: int64(cfg.Limits.CapturedStream), TotalBytes: int64(cfg.Limits.CapturedTotal), Keep: time.Duration(cfg.Limits.CapturedKeep),
		})
	} else {
		s.topics, s.captured, budget = old.topics, old.captured, old.coders.budget
	}
	var err error
	if s.coders, err = newCoders(&s.cfg, budget, d.coded, d.coding); err != nil {
		return nil, err
	}
	if s.pools, err = d.newPools(&cfg, &old.cfg, old.pools); err != nil {
		return nil, err
	}

	// Topics: the resource /topics, on every transport.
	s.readers = d.newReaders(&cfg, s.topics, old)
	s.rpc = d.newRPC(&cfg, s.readers, old)

	// Routes: proxy → capture → upstream pool.
	for _, r := range cfg.Routes {
		up := cfg.Upstreams[r.Upstream]
		r.Log = 0 // which is no reason for another one
		s.routes = append(s.routes, d.newRoute(routeSource{
			r, s.pools[r.Upstream], up.PreserveHost, cfg.trusted(), cfg.Heartbeat,
		}, s.captured, old.routes))
	}
	if d.options.demo() {
		if s.demo = old.demo; s.demo == nil {
			if s.demo, err = newDemo(s.topics); err != nil {
				return nil, err
			}
		}
		for _, from := range demoRoutes(s.demo, cfg.Heartbeat) {
			s.routes = append(s.routes, d.newRoute(from, s.captured, old.routes))
		}
	}
	s.order()

	// Around them, from the outside in: log, host check, choice of the path.
	inside := d.choose(s)
	s.public = d.watch(cfg.trusted(), checkHost(cfg.Hosts, isLoopback(cfg.HTTP), inside))
	s.secure = d.watch(cfg.trusted(), checkHost(cfg.Hosts, isLoopback(cfg.HTTPS), inside))
	s.admin = d.adminHandler(&cfg, s.demo)
	return s, nil
}

// choose hands a request to who serves its path: the captured streams, the
// topics, their calls, or the route with the most specific pattern. No spelling of our own
// paths leads to an upstream, for their last segment is a secret.
func (d *daemon) choose(s *site) http.Handler {
	topics := s.cfg.TopicsPrefix
	captured := s.coders.streams(s.captured)
	var readers http.Handler
	if s.readers != nil {
		readers = s.coders.topics(s.readers)
	}
	others := s.coders.others(d.others(s))
	ofReaders := topics + "/**" // made once: each reader keeps it
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if clean := routePath(path); under(clean, ownPaths) {
			d.flights.routed(r, ownPaths+"/**")
			if dictionary := s.coders.dictionaries[r.URL.EscapedPath()]; dictionary != nil {
				dictionary.ServeHTTP(w, r)
				return
			}
			if r.URL.EscapedPath() != clean || !under(clean, ownStreams) {
				proxy.Problem(w, r, fairlead.Errorf(fairlead.NotFound, "nothing is here; captured streams are at %s/ID, spelled so", ownStreams))
				return
			}
			captured.ServeHTTP(w, r)
		} else if readers != nil && under(path, topics) {
			d.flights.routed(r, ofReaders)
			readers.ServeHTTP(w, r)
		} else if r, own := d.ownRPC(s, r); own {
			s.rpc.ServeHTTP(w, r)
		} else if to, ok := s.match.find(routePath(path)); ok {
			d.flights.routed(r, to.label)
			to.coded.ServeHTTP(w, r)
		} else {
			others.ServeHTTP(w, r)
		}
	})
}

// others answers what no route is for: with the page of the demo, or that
// nothing is there.
func (d *daemon) others(s *site) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.demo != nil && r.URL.Path == "/" {
			d.flights.routed(r, "/")
			servePage(w, r)
			return
		}
		e := fairlead.Errorf(fairlead.NotFound, "no route of this server leads there")
		why := e.Message
		if s.rpc != nil {
			why += "; its own services are " + rpc.Services
		}
		if !rpc.Unimplemented(w, r, why) { // to whom NotFound would be the answer of a service
			proxy.Problem(w, r, e)
		}
	})
}

// served is a route with what this site puts in front of it.
type served struct {
	*route

	coded http.Handler
}

// order sorts the routes for matching.
func (s *site) order() {
	s.upstreams = make(map[string]string, len(s.routes))
	all := make([]ruled[*served], len(s.routes))
	for i, r := range s.routes {
		s.upstreams[r.label] = r.from.cfg.Upstream
		all[i] = ruled[*served]{r.from.cfg.Path, &served{r, s.coders.route(&r.from.cfg, r.proxy)}}
	}
	s.match = newRules(all)
}
