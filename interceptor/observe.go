package interceptor

import (
	"context"
	"time"

	"connectrpc.com/connect"
)

// Observe returns an interceptor that calls over for each call at its end; it must
// not block. A handler's call is over when the handler has returned, or panicked; a
// client's stream when a Receive has failed, when its response is closed, which is
// canceled where its end had not been received, or when its context ends.
func Observe(over func(Call)) connect.Interceptor { return Metrics(MetricsConfig{End: over}) }

// MetricsConfig says whom [Metrics] tells. The functions may run concurrently, for
// different calls; they must not block.
type MetricsConfig struct {
	// Begin is told of each call that begins. Default: nobody is.
	Begin func(Call)
	// End is told of each call that is over, see [Observe], once for each Begin: what
	// has begun and not ended is in flight. Default: nobody is.
	End func(Call)
	// Bytes also counts the bytes of messages, each of which is measured for it.
	// Default: not.
	Bytes bool
}

// Metrics returns an interceptor that hands on the facts of each call, for metrics of
// any kind. Procedure, Client, Protocol, Type and Code have few values, and make labels.
func Metrics(cfg MetricsConfig) connect.Interceptor {
	o := &observer{begin: cfg.Begin, over: func(context.Context, Call) {}, bytes: cfg.Bytes}
	if o.begin == nil {
		o.begin = func(Call) {}
	}
	if cfg.End != nil {
		o.over = func(_ context.Context, c Call) { cfg.End(c) }
	}
	return o
}

type observer struct {
	begin func(Call)
	over  func(context.Context, Call)
	bytes bool
}

// WrapUnary is for connect-go, as are the following.
func (o *observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (res connect.AnyResponse, err error) {
		c := o.start(ctx, req.Spec(), req.Peer(), time.Now())
		asked, answered := &c.received, &c.sent
		if c.Client {
			asked, answered = answered, asked
		}
		asked.add(req.Any(), o.bytes)
		err = errCutShort // until next has returned
		defer func() { c.end(err) }()
		res, err = next(ctx, req)
		if err == nil {
			c.answered()
			answered.add(res.Any(), o.bytes)
		}
		return res, err
	}
}

func (o *observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		c := o.start(ctx, conn.Spec(), conn.Peer(), time.Now())
		err = errCutShort // until next has returned
		defer func() { c.end(err) }()
		err = next(ctx, &handlerConn{conn, c})
		return err
	}
}

func (o *observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		began := time.Now()
		conn := next(ctx, spec)
		c := o.start(ctx, spec, conn.Peer(), began)
		// A stream whose caller forgets it is over with its context.
		stop := context.AfterFunc(ctx, func() { c.end(ctx.Err()) })
		return &clientConn{StreamingClientConn: conn, call: c, stop: stop}
	}
}

func (o *observer) start(ctx context.Context, spec connect.Spec, peer connect.Peer, began time.Time) *running {
	c := &running{observer: o, ctx: ctx, Call: Call{
		Procedure: spec.Procedure, Type: spec.StreamType, Client: spec.IsClient, Protocol: peer.Protocol, Peer: peer.Addr, Began: began,
	}}
	o.begin(c.Call)
	return c
}
