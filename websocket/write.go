package websocket

import (
	"errors"
	"fmt"
	"net"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// errClosed answers a write after our close frame: none may follow it
// (RFC 6455 §5.5.1).
var errClosed = fmt.Errorf("websocket: write after close: %w", net.ErrClosed)

// Write sends p as one message in one frame and one Write to the stream. Text
// must be UTF-8. It may be called concurrently. An error of the stream is final
// and closes it; after [Conn.Close] or the peer's close the error is a
// [net.ErrClosed].
func (c *Conn) Write(t MessageType, p []byte) error {
	switch {
	case t != Text && t != Binary:
		return fmt.Errorf("websocket: write: %d is not a message type: use Text or Binary", t)
	case t == Text && !utf8.Valid(p):
		return errors.New("websocket: write: text that is not UTF-8: send it as Binary")
	}
	if !c.cfg.Compression || len(p) < c.cfg.CompressMin {
		return c.write(ws.OpCode(t), 0, p)
	}
	f := newFrame()
	defer f.release()
	if err := deflate(f, p); err != nil {
		return err
	}
	if len(f.b) >= len(p) {
		return c.write(ws.OpCode(t), 0, p)
	}
	return c.write(ws.OpCode(t), ws.Rsv(true, false, false), f.b)
}

// WriteFrame sends a frame that [AppendFrame] encoded, which may be shared by
// many connections and is not changed. Only a server can: a client masks each
// frame by itself.
func (c *Conn) WriteFrame(frame []byte) error {
	if c.side == Client {
		return errors.New("websocket: write frame: a client masks its frames: use Write")
	}
	return c.send(frame, false)
}

// Ping sends a ping with at most 125 bytes of payload (RFC 6455 §5.5.2). The
// answer shows in [Conn.LastRead].
func (c *Conn) Ping(payload []byte) error {
	if len(payload) > ws.MaxControlFramePayloadSize {
		return fmt.Errorf("websocket: ping: %d bytes of payload, over %d", len(payload), ws.MaxControlFramePayloadSize)
	}
	return c.write(ws.OpPing, 0, payload)
}

func (c *Conn) write(op ws.OpCode, rsv byte, p []byte) error {
	f := newFrame()
	defer f.release()
	f.frame(c.side, op, rsv, p)
	return c.send(f.b, op == ws.OpClose)
}

// send writes a whole frame; none is sent after the last.
func (c *Conn) send(frame []byte, last bool) error {
	c.writing <- struct{}{}
	defer c.unlock()
	err := c.put(frame)
	if err == nil && last {
		c.writeErr = errClosed
	}
	return err
}

// put writes a frame; the caller holds writing.
func (c *Conn) put(frame []byte) error {
	if c.writeErr != nil {
		return c.writeErr
	}
	if s, ok := c.rwc.(interface{ SetWriteDeadline(t time.Time) error }); ok {
		// A stream that cannot set it now fails the write itself.
		_ = s.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout))
	}
	if _, err := c.rwc.Write(frame); err != nil {
		// Part of the frame may be out, so nothing can follow.
		c.writeErr = fmt.Errorf("websocket: write: %w", err)
		c.closeStream()
	}
	return c.writeErr
}

// answer sends a pong, or leaves it to the writer who is busy: two ends that
// both write more than the network holds, and whose reading waits for their
// writing, would wait for each other. A newer pong takes the place of one that
// has not been sent (RFC 6455 §5.5.3).
func (c *Conn) answer(ping []byte) {
	var f frame
	f.frame(c.side, ws.OpPong, 0, ping)
	c.pong.Store(&f.b)
	c.flush()
}

// flush sends the queued pong unless a writer is busy, who will.
func (c *Conn) flush() {
	for c.pong.Load() != nil {
		select {
		case c.writing <- struct{}{}:
			if f := c.pong.Swap(nil); f != nil {
				_ = c.put(*f) // whoever reads or writes next meets the error
			}
			<-c.writing
		default:
			return
		}
	}
}

func (c *Conn) unlock() {
	<-c.writing
	c.flush()
}
