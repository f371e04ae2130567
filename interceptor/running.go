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

// running is a call that is not over. A stream sends and receives at once, and its
// context may end meanwhile.
type running struct {
	Call
	*observer

	ctx            context.Context
	once           sync.Once
	first          atomic.Int64 // Call.First
	sent, received tally
}

// tally is what has gone one way.
type tally struct{ messages, bytes atomic.Int64 }

func (t *tally) add(message any, measure bool) {
	t.messages.Add(1)
	if measure {
		t.bytes.Add(sizeOf(message))
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
		over := c.Call
		over.Took, over.First = time.Since(c.Began), time.Duration(c.first.Load())
		over.Sent, over.SentBytes = c.sent.messages.Load(), c.sent.bytes.Load()
		over.Received, over.ReceivedBytes = c.received.messages.Load(), c.received.bytes.Load()
		if codeOf(err) != 0 {
			over.Err = err
		}
		c.over(c.ctx, over)
	})
}

type handlerConn struct {
	connect.StreamingHandlerConn

	call *running
}

func (h *handlerConn) Receive(m any) error {
	err := h.StreamingHandlerConn.Receive(m)
	if err == nil {
		h.call.received.add(m, h.call.bytes)
	}
	return err
}

func (h *handlerConn) Send(m any) error {
	err := h.StreamingHandlerConn.Send(m)
	if err == nil && m != nil { // nil sends the header alone
		h.call.answered()
		h.call.sent.add(m, h.call.bytes)
	}
	return err
}

type clientConn struct {
	connect.StreamingClientConn

	call   *running
	stop   func() bool           // no longer wait for the context's end
	broken atomic.Pointer[error] // why sending has failed, when this side knows
}

func (c *clientConn) Send(m any) error {
	err := c.StreamingClientConn.Send(m)
	switch {
	case err == nil && m != nil: // nil sends the header alone
		c.call.sent.add(m, c.call.bytes)
	case err != nil && !errors.Is(err, io.EOF): // io.EOF: Receive has the reason
		c.broken.CompareAndSwap(nil, &err)
	}
	return err
}

func (c *clientConn) Receive(m any) error {
	err := c.StreamingClientConn.Receive(m)
	switch {
	case err == nil:
		c.call.answered()
		c.call.received.add(m, c.call.bytes)
	case errors.Is(err, io.EOF):
		c.end(nil)
	default:
		c.end(err)
	}
	return err
}

func (c *clientConn) CloseResponse() error {
	err := c.StreamingClientConn.CloseResponse()
	if broken := c.broken.Load(); broken != nil {
		c.end(*broken)
	} else {
		c.end(errLeft)
	}
	return err
}

func (c *clientConn) end(err error) {
	c.stop()
	c.call.end(err)
}
