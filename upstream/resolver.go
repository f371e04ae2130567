package upstream

import (
	"context"
	"time"
)

// Resolver tells the endpoints of an upstream as they come and go. A Pool asks
// it from one goroutine, at its start and then as often as it says; endpoints
// that are gone get no further request and their connections end when their
// requests do.
type Resolver interface {
	// Resolve returns all endpoints there are now, and how long the answer
	// holds; the pool asks again no sooner than after 100 ms, and sooner than
	// told when a connection could not be made. After an error the pool keeps
	// what it has and asks again in a second. At most [MaxEndpoints] are used.
	Resolve(ctx context.Context) (endpoints []Endpoint, valid time.Duration, err error)
}

// MaxEndpoints is how many endpoints a Pool uses; further ones are left out.
const MaxEndpoints = 1024
