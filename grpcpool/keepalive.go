package grpcpool

import (
	"time"

	"google.golang.org/grpc/keepalive"
)

// Keepalive is when a client asks a silent connection whether it lives, and
// what its server must tolerate for that. A server that is asked more often
// than its enforcement policy allows ends the connection with GOAWAY
// ENHANCE_YOUR_CALM, "too_many_pings", and every call on it (gRFC A8); so the
// two ends are set as a pair: [Keepalive.Client] on one, [Keepalive.Server] on
// the other. The table is in the package's documentation.
type Keepalive int

const (
	// KeepaliveDefault asks after 6 minutes of silence, and only during calls,
	// which every server tolerates as it comes (grpc-go and gRPC core allow
	// one in 5 minutes). It finds a dead peer of a long stream, late.
	KeepaliveDefault Keepalive = iota
	// KeepaliveInternal asks after 30 s of silence, also without a call: for
	// services of one's own, both ends configured, where a dead peer must be
	// found before the next call finds it.
	KeepaliveInternal
	// KeepaliveMobile asks after 60 s of silence, and only during calls: for
	// streams through NATs and radio networks, which forget a silent
	// connection after a few minutes. Without a call nothing wakes the radio.
	KeepaliveMobile
)

// pairs are the presets. The client's time is above the server's minimum by
// the delay that two pings may differ by.
var pairs = [...]struct {
	client      keepalive.ClientParameters
	server      keepalive.ServerParameters
	enforcement keepalive.EnforcementPolicy
}{
	KeepaliveDefault: {
		client:      keepalive.ClientParameters{Time: 6 * time.Minute, Timeout: 20 * time.Second},
		server:      keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second},
		enforcement: keepalive.EnforcementPolicy{MinTime: 5 * time.Minute},
	},
	KeepaliveInternal: {
		client:      keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true},
		server:      keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second},
		enforcement: keepalive.EnforcementPolicy{MinTime: 15 * time.Second, PermitWithoutStream: true},
	},
	KeepaliveMobile: {
		client:      keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second},
		server:      keepalive.ServerParameters{Time: 5 * time.Minute, Timeout: 30 * time.Second},
		enforcement: keepalive.EnforcementPolicy{MinTime: 30 * time.Second},
	},
}

func (k Keepalive) known() bool { return k >= 0 && int(k) < len(pairs) }

// Client returns what a client sets with [grpc.WithKeepaliveParams]; a Pool
// does that by itself.
func (k Keepalive) Client() keepalive.ClientParameters { return pairs[k].client }

// Server returns what a server of such clients sets with
// [grpc.KeepaliveParams] and [grpc.KeepaliveEnforcementPolicy].
func (k Keepalive) Server() (keepalive.ServerParameters, keepalive.EnforcementPolicy) {
	return pairs[k].server, pairs[k].enforcement
}
