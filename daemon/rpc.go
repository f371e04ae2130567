package daemon

import (
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/interceptor"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/rpc"
)

// newRPC returns the topics over gRPC, nil when they are off. The old one is kept
// with the readers whose sessions its streams are.
func (d *daemon) newRPC(cfg *Config, readers *deliver.Handler, old *site) *rpc.Handler {
	if readers == nil {
		return nil
	}
	if readers == old.readers && cfg.Timeouts.Age == old.cfg.Timeouts.Age {
		return old.rpc
	}
	interceptors := []connect.Interceptor{interceptor.Recovery(func(procedure string, v any, stack []byte) {
		d.log.Error("a call panicked", "procedure", procedure, "panic", v, "stack", string(stack))
	})}
	interceptors = append(interceptors, leaving{d})
	if d.counts {
		interceptors = append([]connect.Interceptor{interceptor.Metrics(d.callObserver())}, interceptors...) // it sees what became of a panic
	}
	return rpc.New(rpc.Config{
		Readers: readers, Heartbeat: time.Duration(cfg.Heartbeat), MaxAge: time.Duration(cfg.Timeouts.Age), Interceptors: interceptors,
	})
}

// leaving has the record of a call say that its client has left, as that of other
// readers does: of Connect, whose status is in the body, nothing else would.
type leaving struct{ d *daemon }

// WrapUnary is there for connect-go.
func (leaving) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient is there for connect-go.
func (leaving) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler notes why a stream ended.
func (l leaving) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		if err != nil && connect.CodeOf(err) == connect.CodeCanceled {
			l.d.flights.note(ctx, func(one *flight) { one.reason = string(fairlead.Cancelled) })
		}
		return err
	}
}

// callObserver returns who counts calls.
func (d *daemon) callObserver() interceptor.MetricsConfig {
	return interceptor.MetricsConfig{
		Begin: func(c interceptor.Call) { d.metrics.CallBegan(c.Procedure) },
		End: func(c interceptor.Call) {
			d.metrics.CallEnded(observe.Call{
				Procedure: c.Procedure, Protocol: c.Protocol, Stream: c.Type != connect.StreamTypeUnary,
				Code: c.Code(), Took: c.Took, First: c.First, Sent: c.Sent, Received: c.Received,
			})
		},
	}
}

// ownRPC reports whether the request is a call of a service that is served here, and
// then notes its route; the request that it returns is to be served in any case. Of
// the services that others have too, such as health, the calls about other names go
// where a route leads them.
func (d *daemon) ownRPC(s *site, r *http.Request) (*http.Request, bool) {
	if s.rpc == nil || !s.rpc.Serves(r.URL.Path) {
		return r, false
	}
	own := true
	if _, routed := s.match.find(routePath(r.URL.Path)); routed {
		r, own = s.rpc.Own(r)
	}
	if own {
		service, _, _ := strings.Cut(r.URL.Path[1:], "/")
		d.flights.routed(r, "/"+service+"/"+anyMany)
	}
	return r, own
}
