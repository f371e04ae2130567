package daemon

import (
	"math"
	"strings"
	"sync/atomic"
)

// logShare decides which of many records of one kind are written: the first, and
// then evenly spaced ones, so many that their share is kept. It is safe for
// concurrent use. The zero one has all of them written.
type logShare struct {
	sampled bool // not all are
	share   float64
	seen    atomic.Uint64
}

func (l *logShare) set(share Share) { l.sampled, l.share = share < 1, float64(share) }

// next reports whether the next one is written.
func (l *logShare) next() bool {
	if !l.sampled {
		return true
	}
	n := float64(l.seen.Add(1))
	return math.Ceil(n*l.share) > math.Ceil((n-1)*l.share)
}

// logShares has those of one configuration. With the zero one all is logged.
type logShares struct {
	connections logShare
	routes      map[string]*logShare // by their patterns
	topics      rules[*logShare]
	prefix      string   // of the topics' paths; "" when they are off
	others      logShare // all of them
}

// configure is for before anything is logged.
func (l *logShares) configure(cfg *Config) {
	l.prefix, l.routes = cfg.TopicsPrefix, make(map[string]*logShare, len(cfg.Routes))
	l.connections.set(cfg.Log.Connections)
	for i := range cfg.Routes {
		one := new(logShare)
		one.set(cfg.Routes[i].Log)
		l.routes[routeLabel(&cfg.Routes[i])] = one
	}
	all := make([]ruled[*logShare], len(cfg.Topics))
	for i := range cfg.Topics {
		all[i] = ruled[*logShare]{cfg.Topics[i].Match, new(logShare)}
		all[i].value.set(cfg.Topics[i].Log)
	}
	l.topics = newRules(all)
}

// of returns the share of the requests of a route: those of topics by the one that
// the path names. A request for several names none there.
func (l *logShares) of(route, path string) *logShare {
	if l.prefix != "" && route == l.prefix+"/"+anyMany {
		if one, ok := l.topics.find(strings.TrimPrefix(path, l.prefix+"/")); ok && path != l.prefix {
			return one
		}
		return &l.others
	}
	if one, ok := l.routes[route]; ok {
		return one
	}
	return &l.others
}
