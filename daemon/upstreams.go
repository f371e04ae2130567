package daemon

import (
	"reflect"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// Upstream is a set of endpoints that are copies of each other. What its keys
// mean, and their defaults, stands at the fields of [upstream.Config]; only that
// here a 0 is a 0 and not the default.
type Upstream struct {
	Endpoints    []Endpoint  `yaml:"endpoints"`
	PreserveHost bool        `yaml:"preserve_host"`
	Pool         Connections `yaml:"pool"`
	Health       Health      `yaml:"health"`
	Outliers     Outliers    `yaml:"outliers"`
	Balance      Balance     `yaml:"balance"`
	SlowStart    Duration    `yaml:"slow_start"` // 0: none
	ServerTiming bool        `yaml:"server_timing"`
	TLS          ClientTLS   `yaml:"tls"`
}

// Connections bounds an upstream's connections, the requests that wait for one
// and those that are sent again.
type Connections struct {
	MaxConnections  int      `yaml:"max_connections"`
	MinIdle         int      `yaml:"min_idle"`
	MaxInFlight     int      `yaml:"max_in_flight"` // 0: as many as the connections carry
	MaxStreams      int      `yaml:"max_streams"`
	MaxDials        int      `yaml:"max_dials"`
	DialTimeout     Duration `yaml:"dial_timeout"`
	IdleTimeout     Duration `yaml:"idle_timeout"`
	MaxAge          Duration `yaml:"max_age"`      // 0: for ever
	MaxRequests     int      `yaml:"max_requests"` // 0: no limit
	Queue           int      `yaml:"queue"`        // 0: none
	WaitTimeout     Duration `yaml:"wait_timeout"`
	Attempts        int      `yaml:"attempts"`
	RetryBudget     Share    `yaml:"retry_budget"`     // 0: none
	ReplayBody      Size     `yaml:"replay_body"`      // 0: none
	ResponseTimeout Duration `yaml:"response_timeout"` // 0: for ever
	KernelProof     bool     `yaml:"kernel_proof"`
}

// Health says how the endpoints are asked how they are. Without a kind and a
// path they are not.
type Health struct {
	Kind              string   `yaml:"kind"` // http, tcp or grpc; http if there is a path
	Path              string   `yaml:"path"`
	Service           string   `yaml:"service"`
	Interval          Duration `yaml:"interval"`
	UnhealthyInterval Duration `yaml:"unhealthy_interval"`
	Timeout           Duration `yaml:"timeout"`
	Unhealthy         int      `yaml:"unhealthy"`
	Healthy           int      `yaml:"healthy"`
}

// Outliers says which endpoints are taken out for their answers. It may be
// written as the word off.
type Outliers struct {
	Off         bool
	Consecutive int      `yaml:"consecutive"`  // 0: any number is borne
	FailureRate Share    `yaml:"failure_rate"` // 0: any rate is borne
	MinRequests int      `yaml:"min_requests"`
	Window      Duration `yaml:"window"`
	Time        Duration `yaml:"time"`
	MaxShare    Share    `yaml:"max_share"`
}

func (o *Outliers) word(text string) error {
	return choose(&o.Off, text, choice[bool]{"off", true})
}

func (u *Upstream) defaults() {
	u.Pool = Connections{
		MaxConnections: 1024, MaxStreams: 1000, MaxDials: 4, DialTimeout: Duration(5 * time.Second),
		IdleTimeout: Duration(time.Minute), MaxAge: Duration(10 * time.Minute),
		Queue: 1024, WaitTimeout: Duration(3 * time.Second),
		Attempts: 3, RetryBudget: 0.2, ReplayBody: 64 << 10,
	}
	u.Health = Health{
		Interval: Duration(5 * time.Second), UnhealthyInterval: Duration(time.Second), Timeout: Duration(2 * time.Second),
		Unhealthy: 3, Healthy: 2,
	}
	u.Outliers = Outliers{
		Consecutive: 5, FailureRate: 0.5, MinRequests: 20, Window: Duration(10 * time.Second),
		Time: Duration(10 * time.Second), MaxShare: 0.5,
	}
	u.Balance = Balance{upstream.Balance{Policy: "p2c"}}
	u.SlowStart = Duration(10 * time.Second)
}

// samePool reports whether one pool serves both: what differs, if anything
// does, is its routes'.
func (u Upstream) samePool(v Upstream) bool {
	u.PreserveHost = v.PreserveHost
	return reflect.DeepEqual(u, v)
}

// config returns the upstream, for the room that connects to it.
func (u *Upstream) config(name string) (upstream.Config, error) {
	p, h, o := &u.Pool, &u.Health, &u.Outliers
	cfg := upstream.Config{
		Name: name,
		Connections: upstream.Connections{
			Max: p.MaxConnections, MinIdle: p.MinIdle, MaxInFlight: p.MaxInFlight, MaxStreams: p.MaxStreams, MaxDials: p.MaxDials,
			DialTimeout: time.Duration(p.DialTimeout), IdleTimeout: time.Duration(p.IdleTimeout),
			MaxAge: time.Duration(orNone(p.MaxAge)), MaxRequests: p.MaxRequests,
		},
		Queue: upstream.Queue{Length: orNone(p.Queue), Timeout: time.Duration(p.WaitTimeout)},
		Retry: upstream.Retry{
			Attempts: p.Attempts, Budget: float64(orNone(p.RetryBudget)), Body: int(orNone(p.ReplayBody)),
			ResponseTimeout: time.Duration(p.ResponseTimeout), KernelProof: p.KernelProof,
		},
		Health: upstream.Health{
			Kind: h.Kind, Path: h.Path, Service: h.Service,
			Interval: time.Duration(h.Interval), UnhealthyInterval: time.Duration(h.UnhealthyInterval),
			Timeout:   time.Duration(min(h.Timeout, h.Interval)), // the default may be over a short interval
			Unhealthy: h.Unhealthy, Healthy: h.Healthy,
		},
		Outliers: upstream.Outliers{
			Off: o.Off, Consecutive: orNone(o.Consecutive), FailureRate: float64(o.FailureRate), MinRequests: o.MinRequests,
			Window: time.Duration(o.Window), Time: time.Duration(o.Time), MaxShare: float64(o.MaxShare),
		},
		Balance:      u.Balance.Balance,
		ServerTiming: u.ServerTiming,
	}
	cfg.Balance.SlowStart = time.Duration(orNone(u.SlowStart))
	if o.FailureRate == 0 {
		cfg.Outliers.FailureRate = 2 // over 1: none is too high
	}
	var err error
	if cfg.TLS, err = u.TLS.config(); err != nil {
		return cfg, err
	}
	for _, e := range u.Endpoints {
		cfg.Endpoints = append(cfg.Endpoints, string(e))
	}
	return cfg, nil
}

// orNone turns the file's 0, which is none, into what is none in Go, where a
// zero field is the default.
func orNone[T int | Duration | Size | Share](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
