package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/upstream"
	"github.com/fairlead-edge/fairlead/websocket"
)

// route is a route that serves.
type route struct {
	label string
	proxy *proxy.Handler
	from  routeSource
}

// routeSource is all that a route is built from: of equal ones the older is
// kept through a reload, with its streams.
type routeSource struct {
	cfg          Route
	endpoints    http.RoundTripper
	preserveHost bool
	trusted      []netip.Prefix
	heartbeat    Duration
}

func (s *routeSource) equal(t *routeSource) bool {
	return s.endpoints == t.endpoints && s.preserveHost == t.preserveHost && s.heartbeat == t.heartbeat &&
		slices.Equal(s.trusted, t.trusted) && reflect.DeepEqual(s.cfg, t.cfg)
}

// newRoute returns the route, which is one of old if there is an equal one.
func (d *daemon) newRoute(from routeSource, store *capture.Store, old []*route) *route {
	for _, r := range old {
		if r.from.equal(&from) {
			return r
		}
	}
	return &route{
		label: routeLabel(&from.cfg), from: from,
		proxy: proxy.New(proxy.Config{
			// The pool replaces scheme and host by those of an endpoint.
			Target:         &url.URL{Scheme: "http", Host: from.cfg.Upstream},
			Transport:      store.Transport(from.cfg.Capture.config(from.heartbeat), from.endpoints),
			PreserveHost:   from.preserveHost,
			TrustedProxies: from.trusted,
			Relay:          d.relay,
			Observe:        d.exchanged,
		}),
	}
}

// routeLabel names a route in metrics and logs.
func routeLabel(r *Route) string { return "/" + r.Path.String() }

// newPools returns the pools of the upstreams; those that did not change are
// the old ones, with their connections.
func (d *daemon) newPools(cfg, was *Config, old map[string]*upstream.Pool) (map[string]*upstream.Pool, error) {
	pools := make(map[string]*upstream.Pool, len(cfg.Upstreams))
	for name, u := range cfg.Upstreams {
		if p, ok := old[name]; ok && u.samePool(was.Upstreams[name]) {
			pools[name] = p
			continue
		}
		p, err := newPool(name, &u, old != nil, d.log, d.attempts(name))
		if err != nil {
			for name, p := range pools {
				if p != old[name] {
					p.Close()
				}
			}
			return nil, err
		}
		pools[name] = p
	}
	return pools, nil
}

// newPool returns a pool that may replace another, perhaps of another name.
func newPool(name string, u *Upstream, replaces bool, log *slog.Logger, attempts func(context.Context) func(*upstream.Attempt) func(int, error)) (*upstream.Pool, error) {
	cfg, err := u.config(name)
	if err != nil {
		return nil, err
	}
	cfg.Replaces, cfg.Logger, cfg.Attempts = replaces, log, attempts
	return upstream.New(cfg)
}

// exchanged notes how an exchange ended.
func (d *daemon) exchanged(o proxy.Outcome) {
	if o.Err == nil {
		return
	}
	code := fairlead.AsError(o.Err).Code
	if code == fairlead.Cancelled { // that the client left is all there is to say
		o.Err = nil
	}
	d.flights.because(o.Request, string(code), o.Err)
}

// relay carries a WebSocket. When the server goes away, each is told so at a
// moment of its own within the window.
func (d *daemon) relay(ctx context.Context, client, up io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-d.leaving:
		}
		timer := time.NewTimer(rand.N(d.window() + 1))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			cancel()
		}
	})
	err := websocket.Relay(ctx, client, up, websocket.RelayConfig{
		PingInterval: time.Duration(d.site.Load().cfg.Heartbeat), Stats: &d.relayed,
	})
	stopped := ctx.Err() != nil
	cancel()
	told.Wait()
	if _, ordinary := errors.AsType[*websocket.CloseError](err); ordinary || stopped {
		return nil //nolint:nilerr // an ordinary end, which Relay tells as an error too
	}
	return relayBroke(err)
}

// relayBroke says whose doing the end of a relay was. The client's address is not told.
func relayBroke(err error) error {
	from, told := errors.AsType[*websocket.RelayError](err)
	broken, wrong := errors.AsType[*websocket.ProtocolError](err)
	switch {
	case !told || !from.FromClient:
		return fmt.Errorf("%w: %w", fairlead.Errorf(fairlead.Fault, "the upstream's WebSocket broke"), err)
	case wrong && broken.Code == websocket.MessageTooBig:
		return fairlead.Errorf(fairlead.TooLarge, "a message of the client was too large to be passed on")
	case wrong:
		return fairlead.Errorf(fairlead.InvalidArgument, "the client broke the WebSocket protocol: %s", broken.Reason)
	}
	return fairlead.Errorf(fairlead.Cancelled, "the client left without a close")
}

// routePath is the path that decides about a request's route: without dot
// segments, which upstreams resolve too, so that they lead around no route.
func routePath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

func under(p, prefix string) bool {
	return prefix != "" && (p == prefix || strings.HasPrefix(p, prefix+"/"))
}
