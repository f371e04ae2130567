package grpcpool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
)

// Config says what the channels of a Pool are like, and how many there may
// be. A zero field means the default that stands with it.
type Config struct {
	// DialOptions are applied to each channel after the pool's own, so that
	// what they set counts. They must hold the credentials:
	// [grpc.WithTransportCredentials] or [grpc.WithCredentialsBundle].
	// Interceptors run inside the pool's accounting, which ends with the first
	// stream that one of them opens for a call: one that opens it anew, or
	// answers without any, belongs around the pool.
	DialOptions []grpc.DialOption

	// MinChannels is how many channels are opened by [New] and kept; default 1.
	MinChannels int
	// MaxChannels is how many channels there may be, those that end with their
	// calls included; default 8, at most [MaxChannels].
	MaxChannels int
	// StreamsPerConnection is how many calls there may be at once on one
	// connection; default 90, below the 100 that most servers allow. Set it
	// below the peer's SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2),
	// which grpc-go does not show: beyond it calls wait where nobody sees
	// them. A further channel is opened at 80 %, but not while one of those
	// there cannot connect.
	StreamsPerConnection int
	// WaitLimit is how many calls may wait for their turn, first come first
	// served, each until its context ends, such as for a channel that is being
	// opened beside those that are full; default 1,024. Further ones are
	// refused with [codes.ResourceExhausted]. Negative: none waits.
	WaitLimit int
	// IdleTimeout is after how long without need of it a surplus channel is
	// closed, and after how long without a call the others close their
	// connections, until the next call; default 3 minutes, below the 4 to 6
	// after which NATs and load balancers forget a silent connection and do
	// not tell. Negative: never.
	IdleTimeout time.Duration

	// Keepalive is when a connection is asked whether it lives; default
	// [KeepaliveDefault], which every server tolerates.
	Keepalive Keepalive
	// Retry says which calls are sent again; default [RetryNone].
	Retry Retry
	// WaitForReady makes calls wait until their context ends while no
	// channel can connect; default: they fail with [codes.Unavailable] and
	// the reason. [grpc.WaitForReady] says it for one call.
	WaitForReady bool

	// Resolver finds the addresses of the target; its scheme is that of a
	// target without one. nil: what grpc-go has registered for the target's
	// scheme, or DNS.
	Resolver resolver.Builder
	// Refresh is how often the resolver is asked again although nothing has
	// failed, so that a backend that is new gets its share; default 30 s,
	// below which grpc-go's DNS resolver does not ask. Negative: only after
	// failures, as grpc-go does by itself.
	Refresh time.Duration
	// Logger is warned once when pools are made again and again for one
	// target; default [slog.Default].
	Logger *slog.Logger
}

// MaxChannels is the most channels that a Pool may be allowed: a choice looks
// at each.
const MaxChannels = 256

// withDefaults returns cfg with each default in its place.
func (cfg Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		field    *int
		name     string
		standard int
	}{
		{&cfg.MinChannels, "MinChannels", 1},
		{&cfg.MaxChannels, "MaxChannels", max(8, cfg.MinChannels)},
		{&cfg.StreamsPerConnection, "StreamsPerConnection", 90},
	} {
		if *f.field < 0 {
			return cfg, fmt.Errorf("%s must not be negative", f.name)
		}
		if *f.field == 0 {
			*f.field = f.standard
		}
	}
	if cfg.MaxChannels > MaxChannels || cfg.MinChannels > cfg.MaxChannels {
		return cfg, fmt.Errorf("MaxChannels must be from MinChannels, %d, to %d", cfg.MinChannels, MaxChannels)
	}
	if cfg.WaitLimit == 0 {
		cfg.WaitLimit = 1024
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = 3 * time.Minute
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if !cfg.Keepalive.known() {
		return cfg, errors.New("Keepalive is none of the presets")
	}
	return cfg, cfg.Retry.check()
}

// dialOptions returns the options of all channels; what the user gives comes
// last and wins.
func (cfg *Config) dialOptions() []grpc.DialOption {
	opts := []grpc.DialOption{
		grpc.WithDefaultServiceConfig(cfg.serviceConfig()),
		grpc.WithKeepaliveParams(cfg.Keepalive.Client()),
		grpc.WithIdleTimeout(max(0, cfg.IdleTimeout)), // 0 is never
	}
	return append(opts, cfg.DialOptions...)
}
