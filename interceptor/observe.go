package interceptor

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
)

// Call is a call that is over.
type Call struct {
	Procedure string             // such as "/fairlead.v1.Topics/Publish"
	Protocol  string             // connect.ProtocolGRPC, ProtocolGRPCWeb or ProtocolConnect
	Peer      string             // address of the other end, where it is known
	Type      connect.StreamType // of messages, which way there are many
	Client    bool               // it was made here, and not served
	Err       error              // how it failed; nil: it did not
	Began     time.Time
	Took      time.Duration
	First     time.Duration // until the first message of the response; 0: there was none
	Sent      int64         // messages
	Received  int64         // messages
}

// Code returns the status as Connect writes it, such as "not_found"; "ok" of a
// call that did not fail.
func (c *Call) Code() string {
	if c.Err == nil {
		return "ok"
	}
	return connect.CodeOf(c.Err).String()
}

// Observe returns an interceptor that calls over for each call at its end, on the
// goroutine that ends it; it must not block. A client's stream is over when a
// Receive has failed, or when its response is closed.
func Observe(over func(Call)) connect.Interceptor { return observer{over} }

type observer struct{ over func(Call) }

// WrapUnary is for connect-go, as are the following.
func (o observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		c := begin(req.Spec(), req.Peer(), o.over)
		res, err := next(ctx, req)
		sent, received := &c.sent, &c.received
		if !c.Client {
			sent, received = received, sent
		}
		sent.Add(1)
		if err == nil {
			received.Add(1)
			c.answered()
		}
		c.end(err)
		return res, err
	}
}

func (o observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		c := begin(conn.Spec(), conn.Peer(), o.over)
		err := next(ctx, &handlerConn{conn, c})
		c.end(err)
		return err
	}
}

func (o observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		return &clientConn{conn, begin(spec, conn.Peer(), o.over)}
	}
}

// running is a call that is not over.
type running struct {
	Call

	over           func(Call)
	once           sync.Once
	first          atomic.Int64 // Call.First
	sent, received atomic.Int64
}

func begin(spec connect.Spec, peer connect.Peer, over func(Call)) *running {
	return &running{
		Call: Call{
			Procedure: spec.Procedure, Type: spec.StreamType, Client: spec.IsClient, Protocol: peer.Protocol, Peer: peer.Addr, Began: time.Now(),
		},
		over: over,
	}
}

// answered notes a message of the response.
func (c *running) answered() {
	if c.first.Load() == 0 {
		c.first.CompareAndSwap(0, max(1, int64(time.Since(c.Began))))
	}
}

func (c *running) end(err error) {
	c.once.Do(func() {
		c.Err, c.Took, c.First = err, time.Since(c.Began), time.Duration(c.first.Load())
		c.Sent, c.Received = c.sent.Load(), c.received.Load()
		c.over(c.Call)
	})
}

type handlerConn struct {
	connect.StreamingHandlerConn

	call *running
}

func (h *handlerConn) Receive(m any) error {
	err := h.StreamingHandlerConn.Receive(m)
	if err == nil {
		h.call.received.Add(1)
	}
	return err
}

func (h *handlerConn) Send(m any) error {
	err := h.StreamingHandlerConn.Send(m)
	if err == nil {
		h.call.answered()
		h.call.sent.Add(1)
	}
	return err
}

type clientConn struct {
	connect.StreamingClientConn

	call *running
}

func (c *clientConn) Send(m any) error {
	err := c.StreamingClientConn.Send(m)
	if err == nil {
		c.call.sent.Add(1)
	}
	return err
}

func (c *clientConn) Receive(m any) error {
	err := c.StreamingClientConn.Receive(m)
	switch {
	case err == nil:
		c.call.answered()
		c.call.received.Add(1)
	case errors.Is(err, io.EOF):
		c.call.end(nil)
	default:
		c.call.end(err)
	}
	return err
}

func (c *clientConn) CloseResponse() error {
	err := c.StreamingClientConn.CloseResponse()
	c.call.end(err)
	return err
}
