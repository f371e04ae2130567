package daemon

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"time"
	"unique"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// detached is what is left here of a request whose connection was taken from
// net/http: what is logged and counted when it ends. There is one for each
// reader, so that it holds no request, nor any string that is part of one.
type detached struct {
	d         *daemon
	route     string
	lease     listen.Lease
	client    *netip.Addr // when a proxy has told it; nil: the connection's own
	path      unique.Handle[string]
	first     uint32 // microseconds until it was taken: the response's header is what comes next
	before    uint16 // seconds that the connection was there before: 18.2 hours also when it was longer
	webSocket bool
}

// plainListener is where connections can be taken over: without TLS.
const plainListener = "http"

// take goes on with the request of a connection that the handler has taken over,
// a GET of HTTP/1.1 without TLS, until its end: it is in flight, its connection is
// counted, and its record is written at the end.
func (d *daemon) take(r *http.Request) deliver.Lease {
	w, ok := r.Context().Value(watchedKey{}).(*watched)
	if !ok || w.taken {
		return nil
	}
	w.taken = true
	t := &detached{
		d: d, route: d.flights.hold(w.flight), lease: listen.Detach(r.Context()),
		path: unique.Make(loggedPath(r.URL.Path)), webSocket: websocket.IsHandshake(r),
	}
	if client := proxy.ClientAddr(r, w.trusted); client != remoteAddr(r.RemoteAddr) {
		t.client = &client
	}
	t.first = uint32(min(time.Since(w.began).Microseconds(), math.MaxUint32)) //nolint:gosec // bounded
	if info, ok := listen.ConnInfoOf(r.Context()); ok {
		t.before = wholeSeconds(w.began.Sub(info.Since))
	}
	if span := w.traced.over(); span != nil {
		return &detachedTrace{t, span}
	}
	return t
}

// wholeSeconds returns at most what 16 bits hold.
func wholeSeconds(d time.Duration) uint16 {
	return uint16(min(max(0, d/time.Second), math.MaxUint16)) //nolint:gosec // bounded
}

// stay has the record of a request say what its session says at its end.
func (d *daemon) stay(r *http.Request) deliver.Lease {
	if w, ok := r.Context().Value(watchedKey{}).(*watched); ok {
		return staying{d, w, r}
	}
	return nil
}

// staying is a session that its request's handler serves.
type staying struct {
	d *daemon
	w *watched
	r *http.Request
}

// Ended notes it for the record.
func (s staying) Ended(why deliver.Ended) {
	s.d.flights.because(s.r, string(why.Reason), nil)
	s.w.events = why.Events
	if s.w.status == 0 { // a WebSocket of HTTP/1.1, of which nothing comes past the writer
		s.w.sent = int64(min(why.Bytes, math.MaxInt64)) //nolint:gosec // bounded
	}
}

// Ended writes the record.
func (t *detached) Ended(why deliver.Ended) { t.ended(why, nil) }

func (t *detached) ended(why deliver.Ended, span *observe.Span) {
	first := time.Duration(t.first) * time.Microsecond
	e := ended{
		method: http.MethodGet, path: t.path.Value(), proto: "HTTP/1.1", client: remoteAddr(why.Remote),
		status: http.StatusOK, stream: true, first: first, took: first + why.Lasted,
		sent: int64(min(why.Bytes, math.MaxInt64)), events: why.Events, span: span, //nolint:gosec // bounded
	}
	if t.client != nil {
		e.client = *t.client
	}
	if t.webSocket {
		e.status, e.first = http.StatusSwitchingProtocols, 0
	}
	t.d.record(context.Background(), flight{route: t.route, reason: string(why.Reason)}, &e)
	t.lease.Release()
	reason, lasted := closeReason(why.Reason), time.Duration(t.before)*time.Second+e.took
	if t.d.counts {
		t.d.plain.Ended(1, reason, lasted, -1)
	}
	t.d.recordConnection(plainListener, why.Remote, observe.Protocol(1), reason, lasted, func() []slog.Attr {
		return []slog.Attr{slog.Uint64("sent_bytes", why.Bytes)}
	})
	t.d.flights.drop(t.route)
}

// remoteAddr returns the zero Addr for what is no address and port.
func remoteAddr(of string) netip.Addr {
	at, err := netip.ParseAddrPort(of)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
