package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// ParseSource reads one entry of an upstream's list: an endpoint as
// [ParseEndpoint] reads it, or a source of endpoints that come and go. Exactly
// one of the Endpoint and the Resolver is set, unless there is an error.
//
// dns+http://name:port/base (also dns+https, dns+h2c) is one endpoint for each
// address of the name, IPv4 and IPv6; its Host, and with it the name in TLS,
// stays name:port. A name with one address of each kind is two endpoints. One
// that ends with a dot is looked up without the search domains of the system;
// its Host is without that dot.
//
// srv+http://_http._tcp.example.com/base (also srv+https, srv+h2c) is one
// endpoint for each address of each target of the name's SRV records (RFC
// 2782); Host, and with it the name in TLS, is target:port, so trust in it is
// trust in who answers for DNS. Only the records with the lowest priority
// number are used, and their weights are ignored: the pool balances by what it
// sees. A target that does not resolve is left out; if none does, that is an
// error.
//
// Both ask the system's resolver every 30 s, since it does not tell how long
// an answer holds, and give up after 10 s.
//
// file:/path is a file of one endpoint a line, as [ParseEndpoint] reads it.
// Blank lines and lines that begin with # are skipped. It is read every second,
// so it may be replaced or written in place; replacing it by a rename is the
// way that nobody sees half of it. It must be a regular file of at most 1 MiB
// and [MaxEndpoints] endpoints, with at least one, and its last line must end
// with a newline: one cut short by a write under way may name another host.
// Otherwise, and after any bad line, the pool keeps what it has.
func ParseSource(s string) (Endpoint, Resolver, error) {
	e, r, err := parseSource(s)
	if err != nil {
		return Endpoint{}, nil, fmt.Errorf("upstream: endpoint: %w", err)
	}
	return e, r, nil
}

func parseSource(s string) (e Endpoint, r Resolver, err error) {
	if rest, ok := strings.CutPrefix(s, "dns+"); ok {
		r, err = parseDNS(rest)
		return e, r, err
	}
	if rest, ok := strings.CutPrefix(s, "srv+"); ok {
		r, err = parseSRV(rest)
		return e, r, err
	}
	if rest, ok := strings.CutPrefix(s, "file:"); ok {
		r, err = parseFile(rest)
		return e, r, err
	}
	e, err = parseEndpoint(s)
	if errors.Is(err, errScheme) {
		err = errors.New("it must begin with http://, https://, h2c://, unix:/, dns+http://, srv+http:// or file:/")
	}
	return e, nil, err
}

// sorted puts endpoints in an order that depends on nothing but themselves,
// and each in once, so that an answer in another order is the same answer.
func sorted(endpoints []Endpoint) []Endpoint {
	slices.SortFunc(endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.String(), b.String()), cmp.Compare(a.Address, b.Address))
	})
	return slices.Compact(endpoints)
}
