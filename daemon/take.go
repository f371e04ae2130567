package daemon

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// detached is what is left here of a request whose connection was taken from
// net/http: what is logged and counted when it ends. There is one for each
// reader, so that it holds no request, nor any string that is part of one.
type detached struct {
	d       *daemon
	route   string
	release func() // gives the connection's place back
	began   time.Time
	first   time.Duration
	client  netip.Addr
	path    string
	method  string
	status  uint16
	major   uint8
	minor   uint8
	tls     bool
	resumed bool
}

// take goes on with the request of a connection that the handler has taken over,
// until done: it is in flight, its connection is counted, and its record is
// written at the end.
func (d *daemon) take(r *http.Request) (done func(deliver.Ended)) {
	w, ok := r.Context().Value(watchedKey{}).(*watched)
	if !ok || w.taken {
		return func(deliver.Ended) {}
	}
	w.taken = true
	t := &detached{
		d: d, route: d.flights.hold(w.flight), release: listen.Detach(r.Context()), began: w.began,
		client: proxy.ClientAddr(r, w.trusted), path: strings.Clone(loggedPath(r.URL.Path)), method: http.MethodGet,
		status: http.StatusOK, major: uint8(r.ProtoMajor), minor: uint8(r.ProtoMinor), //nolint:gosec // a digit each
		tls: r.TLS != nil, resumed: r.TLS != nil && r.TLS.DidResume,
	}
	if r.Method != http.MethodGet {
		t.method = strings.Clone(r.Method)
	}
	if r.Method == http.MethodGet && websocket.IsHandshake(r) {
		t.status = http.StatusSwitchingProtocols
	} else {
		t.first = time.Since(w.began) // the header is what comes next
	}
	return t.end
}

// end is done.
func (t *detached) end(why deliver.Ended) {
	e := ended{
		method: t.method, path: t.path, proto: fmt.Sprintf("HTTP/%d.%d", t.major, t.minor), client: t.client, tls: t.tls, resumed: t.resumed,
		status: int(t.status), stream: true, first: t.first, took: time.Since(t.began), sent: int64(min(why.Bytes, math.MaxInt64)), //nolint:gosec // bounded
	}
	t.d.record(context.Background(), flight{route: t.route, reason: string(why.Reason)}, &e)
	t.release()
	t.d.flights.drop(t.route)
}
