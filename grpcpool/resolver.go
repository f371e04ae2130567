package grpcpool

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/resolver"
)

// resolverOf returns the target in full, and what resolves it: given, unless
// that is nil.
func resolverOf(target string, given resolver.Builder) (string, resolver.Builder, error) {
	if target == "" {
		return "", nil, errors.New("it must be a name such as dns:///host:port")
	}
	scheme := ""
	if u, err := url.Parse(target); err == nil {
		scheme = u.Scheme
	}
	if given != nil {
		if scheme == given.Scheme() {
			return target, given, nil
		}
	} else if b := resolver.Get(scheme); scheme != "" && b != nil {
		return target, b, nil
	}
	if strings.Contains(target, "://") {
		return "", nil, fmt.Errorf("nothing resolves the scheme %s; set Config.Resolver to what does, or use dns:///host:port", scheme)
	}
	if given == nil {
		given = resolver.Get("dns") // grpc-go imports it
	}
	return given.Scheme() + ":///" + target, given, nil
}

// watchedBuilder builds the resolver of a channel, so that the pool can have it
// ask again and see why it fails, and so that the balancer learns whose it is.
type watchedBuilder struct {
	resolver.Builder

	channel *channel
}

// Build implements [resolver.Builder].
func (b *watchedBuilder) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	inner, err := b.Builder.Build(target, &watchedConn{cc, b.channel}, opts)
	if err != nil {
		b.channel.explain(err.Error())
		return nil, err
	}
	b.channel.resolves(inner)
	return &watchedResolver{inner, b.channel}, nil
}

type watchedConn struct {
	resolver.ClientConn

	channel *channel
}

// UpdateState implements [resolver.ClientConn].
func (c *watchedConn) UpdateState(s resolver.State) error {
	s.Attributes = s.Attributes.WithValue(channelKey{}, c.channel)
	return c.ClientConn.UpdateState(s)
}

// ReportError implements [resolver.ClientConn].
func (c *watchedConn) ReportError(err error) {
	c.channel.explain(err.Error())
	c.ClientConn.ReportError(err)
}

type watchedResolver struct {
	resolver.Resolver

	channel *channel
}

// Close implements [resolver.Resolver].
func (r *watchedResolver) Close() {
	r.channel.resolves(nil)
	r.Resolver.Close()
}

// resolves tells what resolves for the channel now.
func (c *channel) resolves(r resolver.Resolver) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.resolver = r
}

// resolve has each channel's resolver ask again.
func (p *Pool) resolve() {
	p.mu.Lock()
	var all []resolver.Resolver
	for _, c := range p.channels {
		if c.resolver != nil {
			all = append(all, c.resolver)
		}
	}
	p.mu.Unlock()
	for _, r := range all {
		r.ResolveNow(resolver.ResolveNowOptions{})
	}
}
