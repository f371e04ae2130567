package daemon

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/topic"
)

// newReaders returns the resource of the topics, nil when they are off. The
// old one is kept, with its sessions, unless what it is made from has changed.
func (d *daemon) newReaders(cfg *Config, topics *topic.Store, old *site) *deliver.Handler {
	if cfg.TopicsPrefix == "" {
		return nil
	}
	if old.readers != nil && sameReaders(cfg, &old.cfg) {
		return old.readers
	}
	return deliver.New(deliver.Config{
		Topics: topics, Prefix: cfg.TopicsPrefix,
		AllowPublish: mayPublish(cfg), PublishToken: cfg.PublishToken, Origins: cfg.CORS,
		Heartbeat: time.Duration(cfg.Heartbeat), SlowAfter: slowAfter(cfg),
		MaxBody: int64(cfg.Limits.Body), MaxTopics: cfg.Limits.TopicsPerConnection, MaxMessage: int64(cfg.Limits.Message),
		Engine: d.fanoutEngine(cfg), Take: d.take, Stay: d.stay, Tracer: d.tracer(),
		Observer: d.readerObserver(cfg.Metrics.EventTypes),
	})
}

// readerObserver returns who counts and logs what happens to readers.
func (d *daemon) readerObserver(eventTypes []string) deliver.Observer {
	o := deliver.Observer{
		Closed:   d.sessionEnded,
		Panicked: func(v any, stack []byte) { d.log.Error("a session panicked", "panic", v, "stack", string(stack)) },
	}
	if !d.counts {
		return o
	}
	o.Opened, o.Began = d.metrics.Opened, d.metrics.Subscribed
	o.Message, o.Answered, o.Echoed, o.Failed = d.metrics.Message, d.metrics.Answered, d.metrics.Echoed, d.metrics.Broke
	o.Delivered = func(e deliver.Delivery) {
		d.metrics.Delivered(observe.Delivery{
			Transport: e.Transport, Events: e.Events, Bytes: e.Bytes, Delay: e.Delay, Age: e.Age, First: e.First, Gap: e.Gap,
		})
	}
	o.Published = func(name string, _ int, result fairlead.Code) {
		d.metrics.Published(d.site.Load().pattern(name), result)
	}
	if len(eventTypes) > 0 {
		o.Typed = d.metrics.Typed(eventTypes)
	}
	o.Established, o.Refused = d.metrics.Established, d.metrics.Refused
	o.Missed = func(e deliver.Missed) {
		s := d.site.Load()
		pattern := s.pattern(e.Topic)
		d.metrics.Missed(observe.Missed{
			Transport: e.Transport, Topics: pattern, Policy: s.policies[pattern], Skipped: e.Skipped, Gap: e.Gap, Lost: e.Lost,
		})
	}
	return o
}

// findSlow has those readers sent away that fall further behind, of topics where
// nothing else bounds how far.
func (d *daemon) findSlow(s *site) {
	policy := s.cfg.policies()
	meant := func(name string) bool {
		p := policy(name)
		return p.Deliver == topic.Every && p.Patience == 0
	}
	for _, site := range d.sites() {
		if site.readers == nil {
			continue
		}
		if n := site.readers.FindSlow(time.Now(), meant); n > 0 {
			d.log.Info("readers fell further behind and are sent away", "readers", n)
		}
	}
}

// readerMetrics tells the metrics who reads what, by the patterns of topics.
func (d *daemon) readerMetrics() observe.Readers {
	s := d.site.Load()
	out := observe.Readers{
		Topics:      map[string]observe.Reading{anyMany: {Retain: topic.DefaultEvents}},
		Connections: make(map[string]observe.Waiting),
	}
	for _, transport := range deliver.Transports() {
		out.Connections[transport] = observe.Waiting{}
	}
	for i := range s.cfg.Topics {
		out.Topics[s.cfg.Topics[i].Match.String()] = observe.Reading{Retain: cmp.Or(s.cfg.Topics[i].Retain.Events, topic.DefaultEvents)}
	}
	patterns := make(map[string]string) // by the names of topics that are read
	for _, site := range d.sites() {
		if site.readers == nil {
			continue
		}
		for session := range site.readers.All() {
			w := out.Connections[session.Transport]
			w.Buffered += session.Buffered
			w.Unsent += max(session.Unsent, 0)
			out.Connections[session.Transport] = w
			for _, at := range session.Topics {
				pattern, ok := patterns[at.Topic]
				if !ok {
					pattern = s.pattern(at.Topic)
					patterns[at.Topic] = pattern
				}
				r := out.Topics[pattern]
				r.Readers++
				r.Lag += at.Lag
				r.Bytes += at.LagBytes
				r.MaxLag = max(r.MaxLag, at.Lag)
				out.Topics[pattern] = r
			}
		}
	}
	return out
}

func slowAfter(cfg *Config) time.Duration {
	if cfg.Limits.SlowReader == 0 {
		return -1
	}
	return time.Duration(cfg.Limits.SlowReader)
}

func sameReaders(a, b *Config) bool {
	return a.TopicsPrefix == b.TopicsPrefix && slices.Equal(a.CORS, b.CORS) &&
		a.Heartbeat == b.Heartbeat && a.Limits == b.Limits && a.Fanout.Engine == b.Fanout.Engine
}

// fanoutEngine returns the process's one engine, which the readers of every
// configuration share; nil when it is off. Who is served by it already stays.
func (d *daemon) fanoutEngine(cfg *Config) *fanout.Engine {
	if !cfg.Fanout.Engine {
		return nil
	}
	if d.engine == nil {
		d.engine = fanout.New(fanout.Config{FlushDelay: time.Duration(cfg.Fanout.FlushDelay)})
	}
	return d.engine
}

func (d *daemon) sessionEnded(e deliver.Ended) {
	if d.counts {
		d.metrics.Closed(e.Transport, e.Reason)
	}
	d.log.Debug("session",
		slog.String("transport", e.Transport), slog.String("reason", string(e.Reason)), slog.Bool("resumed", e.Resumed),
		slog.Uint64("events", e.Events), slog.Uint64("bytes", e.Bytes), slog.Uint64("skipped", e.Skipped), slog.Uint64("gaps", e.Gaps),
		slog.Float64("duration_seconds", e.Lasted.Seconds()))
}
