package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// dnsValid is how long an answer is used. net.Resolver does not tell the
	// records' time to live; 30 s is what those that move usually have.
	dnsValid = 30 * time.Second
	// dnsTimeout is how long all lookups of one answer may take: two tries of
	// 5 s, as resolvers make them.
	dnsTimeout = 10 * time.Second
	// srvLookups is how many targets are looked up at once.
	srvLookups = 8
)

// dnsSource is a [Resolver] for the addresses of a name, or, if srv is set,
// those of the targets of its SRV records.
type dnsSource struct {
	like   Endpoint // what all endpoints share; for srv without its Host
	name   string
	port   string // of like; for srv the records bring it
	srv    bool
	lookup *net.Resolver
}

// parseDNS reads what follows dns+.
func parseDNS(s string) (Resolver, error) {
	d, err := parseName("dns", s)
	if err != nil {
		return nil, err
	}
	d.like.Host = strings.TrimSuffix(d.name, ".") // the final dot is the lookup's matter
	if d.port != "" {
		d.like.Host += ":" + d.port
	} else {
		d.port = "80"
		if d.like.Scheme == "https" {
			d.port = "443"
		}
	}
	return d, nil
}

// parseSRV reads what follows srv+.
func parseSRV(s string) (Resolver, error) {
	d, err := parseName("srv", s)
	if err != nil {
		return nil, err
	}
	if d.port != "" {
		return nil, fmt.Errorf("SRV records bring the port; write srv+%s://%s", d.like.Scheme, d.name)
	}
	d.srv, d.like.Host = true, ""
	return d, nil
}

func parseName(kind, s string) (*dnsSource, error) {
	e, err := parseEndpoint(s)
	switch {
	case errors.Is(err, errScheme) || strings.HasPrefix(s, "unix:"):
		return nil, fmt.Errorf("after %s+ comes http://, https:// or h2c:// and a name", kind)
	case err != nil:
		return nil, err
	}
	u := url.URL{Host: e.Host}
	d := &dnsSource{like: e, name: u.Hostname(), port: u.Port(), lookup: &net.Resolver{Dial: dialDNS}}
	if d.name == "." {
		return nil, errors.New("there is no name in it")
	}
	if _, err := netip.ParseAddr(d.name); err == nil {
		return nil, fmt.Errorf("%s is an address already; write %s", d.name, e)
	}
	return d, nil
}

// dialDNS connects to a DNS server as net.Resolver does by itself, but so that
// the end of ctx ends a read under way: net.Resolver only heeds a deadline
// there, and whoever closes a pool would wait 5 s for a server that is silent.
func dialDNS(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.Close() }) // net.Resolver ends ctx after each exchange
	return c, nil
}

// Resolve implements [Resolver].
func (d *dnsSource) Resolve(ctx context.Context) ([]Endpoint, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	resolve := d.addresses
	if d.srv {
		resolve = d.targets
	}
	endpoints, err := resolve(ctx)
	if err != nil && ctx.Err() != nil { // what broke then says nothing
		err = fmt.Errorf("lookup %s: %w", d.name, ctx.Err())
	}
	if err != nil {
		return nil, 0, fmt.Errorf("upstream: dns: %w", err)
	}
	return sorted(endpoints), dnsValid, nil
}

func (d *dnsSource) addresses(ctx context.Context) ([]Endpoint, error) {
	return d.resolve(ctx, d.name, d.port, d.like.Host)
}

// resolve returns an endpoint for each address of name.
func (d *dnsSource) resolve(ctx context.Context, name, port, host string) ([]Endpoint, error) {
	addrs, err := d.lookup.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	endpoints := make([]Endpoint, len(addrs))
	for i, a := range addrs {
		endpoints[i] = d.like
		endpoints[i].Host, endpoints[i].Address = host, net.JoinHostPort(a.Unmap().String(), port)
	}
	return endpoints, nil
}

// targets returns the endpoints of the SRV records of the lowest priority
// number. There are at most a few thousand: an answer has at most 64 KiB.
func (d *dnsSource) targets(ctx context.Context) ([]Endpoint, error) {
	_, records, err := d.lookup.LookupSRV(ctx, "", "", d.name)
	if len(records) == 0 && err != nil { // with some, err tells of others that are no host names
		return nil, err
	}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, srvLookups)
		mu    sync.Mutex
		all   []Endpoint
		last  = fmt.Errorf("lookup %s: the SRV records say that there is no such service", d.name)
	)
	for _, r := range records {
		if r.Priority != records[0].Priority { // they come in its order
			break
		}
		if r.Target == "." || r.Port == 0 { // the former is RFC 2782's "decidedly not available"
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			port := strconv.Itoa(int(r.Port))
			host := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), port)
			found, err := d.resolve(ctx, r.Target, port, host)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			if err != nil {
				last = err
			}
		})
	}
	wg.Wait()
	if len(all) == 0 {
		return nil, last
	}
	return all, nil
}
