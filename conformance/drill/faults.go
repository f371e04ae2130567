package main

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// faults are all there are, the healthy run first.
var faults = []fault{
	{name: healthy},
	{name: "stale pool", inject: func(_ context.Context, s *site) error {
		s.backends[0].stale.Store(true)
		return nil
	}},
	{
		name:  "exhausted pool",
		setup: setup{pool: "max_connections: 10, wait_timeout: 300ms"},
		inject: func(ctx context.Context, s *site) error {
			s.backends[0].slow.Store(true)
			for range 20 {
				s.repeat(ctx, each, func() error { return s.call(ctx, http.MethodGet, "/things") })
			}
			return nil
		},
	},
	{name: "slow reader", inject: slowReader},
	{name: "half-open client", setup: setup{prepare: apart}, inject: vanish},
	{name: "reconnect storm", inject: func(ctx context.Context, s *site) error {
		for range 200 {
			s.repeat(ctx, 100*time.Millisecond, func() error {
				over := &http.Transport{DisableKeepAlives: true}
				return s.readOnce(ctx, over, s.http+"/topics/"+quiet, 4)
			})
		}
		return nil
	}},
	{name: "buffered hop", how: "before the upstream", setup: setup{prepare: through}, inject: buffer},
	{name: "buffered hop", how: "before the publisher", setup: setup{prepare: between}, inject: buffer},
	{name: "GOAWAY", setup: setup{h2: true}, inject: func(_ context.Context, s *site) error {
		s.backends[0].goaway.Store(true)
		return nil
	}},
	{name: "dead endpoint", how: "refuses", setup: setup{endpoints: 3}, inject: func(_ context.Context, s *site) error {
		s.backends[1].close()
		return nil
	}},
	{
		name: "dead endpoint", how: "silent",
		setup:  setup{endpoints: 3, pool: "dial_timeout: 1s", prepare: remote},
		inject: func(ctx context.Context, s *site) error { return s.network.cut(ctx) },
	},
	{name: "DNS change", setup: setup{prepare: named}, inject: move},
	{name: "descriptor shortage", setup: setup{prepare: func(_ context.Context, s *site) error {
		s.command = slices.Concat([]string{"prlimit", "--nofile=" + descriptors + ":" + descriptors, "--"}, s.command)
		return nil
	}}, inject: crowd},
}
