package websocket

import (
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws"
)

// keepFrame is the largest frame buffer that goes back to the pool, in bytes.
const keepFrame = 64 << 10

// frame is a buffer in which a frame is put together for a single Write.
type frame struct {
	b    []byte
	head [ws.MaxHeaderSize]byte
}

var frames = sync.Pool{New: func() any { return new(frame) }}

func newFrame() *frame { return frames.Get().(*frame) } //nolint:errcheck // the pool holds nothing else

func (f *frame) release() {
	if cap(f.b) <= keepFrame {
		f.b = f.b[:0]
		frames.Put(f)
	}
}

// Write appends p, for the header encoder.
func (f *frame) Write(p []byte) (int, error) {
	f.b = append(f.b, p...)
	return len(p), nil
}

// header appends h. It cannot fail: lengths come from len or a parsed header.
func (f *frame) header(h ws.Header) {
	if err := ws.WriteHeaderBuffer(f, h, f.head[:]); err != nil {
		panic("websocket: impossible frame header: " + err.Error())
	}
}

// frame appends a whole final frame, masked when the side is [Client].
func (f *frame) frame(side Side, op ws.OpCode, rsv byte, payload []byte) {
	h := ws.Header{Fin: true, Rsv: rsv, OpCode: op, Length: int64(len(payload))}
	if side == Client {
		h.Masked, h.Mask = true, ws.NewMask()
	}
	f.header(h)
	at := len(f.b)
	f.b = append(f.b, payload...)
	if h.Masked {
		ws.Cipher(f.b[at:], h.Mask, 0)
	}
}

// AppendFrame appends to dst the frame in which a server sends payload as one
// message of type t, and returns the longer slice. The bytes are the same for
// every connection: encode once, then [Conn.WriteFrame] to each. Payload of a
// [Text] message must be UTF-8; it is not checked here. For control frames see
// [AppendControl] and [AppendClose].
func AppendFrame(dst []byte, t MessageType, payload []byte) []byte {
	f := newFrame()
	pooled := f.b
	f.b = dst
	f.frame(Server, ws.OpCode(t), 0, payload)
	dst, f.b = f.b, pooled
	f.release()
	return dst
}

// AppendControl appends to dst the frame in which a server sends a [Ping] or
// [Pong] (RFC 6455 §5.5.2, §5.5.3), and returns the longer slice. A payload over
// 125 bytes is cut.
func AppendControl(dst []byte, t MessageType, payload []byte) []byte {
	return AppendFrame(dst, t, payload[:min(len(payload), ws.MaxControlFramePayloadSize)])
}

// AppendClose appends to dst the close frame of a server (RFC 6455 §5.5.1), and
// returns the longer slice. The code must be a [ValidCloseCode], or [NoStatus]
// for none and no reason; a reason over 123 bytes is cut. No frame may follow it.
func AppendClose(dst []byte, code int, reason string) []byte {
	return AppendFrame(dst, Close, closePayload(code, reason))
}

// rules checks the frames of one direction (RFC 6455 §5).
type rules struct {
	from       Side // who sends these frames
	anyRSV     bool // extension bits are none of our business
	deflate    bool // RSV1 marks a compressed message (RFC 7692 §6)
	fragmented bool // a message has begun and not ended
}

// check judges h and, for a data frame, advances the fragmentation state.
func (r *rules) check(h ws.Header) *ProtocolError {
	switch {
	case r.from == Client && !h.Masked:
		return &ProtocolError{ProtocolFault, "a frame from a client without a mask"}
	case r.from == Server && h.Masked:
		return &ProtocolError{ProtocolFault, "a masked frame from a server"}
	case h.OpCode.IsReserved():
		return &ProtocolError{ProtocolFault, "a reserved opcode"}
	case h.OpCode.IsControl():
		return r.control(h)
	case h.OpCode == ws.OpContinuation && !r.fragmented:
		return &ProtocolError{ProtocolFault, "a continuation of nothing"}
	case h.OpCode != ws.OpContinuation && r.fragmented:
		return &ProtocolError{ProtocolFault, "a new message inside another"}
	case !r.rsvAllowed(h, r.deflate && h.OpCode != ws.OpContinuation):
		return &ProtocolError{ProtocolFault, "an extension bit that was not negotiated"}
	}
	r.fragmented = !h.Fin
	return nil
}

func (r *rules) control(h ws.Header) *ProtocolError {
	switch {
	case !h.Fin:
		return &ProtocolError{ProtocolFault, "a fragmented control frame"}
	case h.Length > ws.MaxControlFramePayloadSize:
		return &ProtocolError{ProtocolFault, "a control frame over 125 bytes"}
	case !r.rsvAllowed(h, false):
		return &ProtocolError{ProtocolFault, "an extension bit on a control frame"}
	}
	return nil
}

func (r *rules) rsvAllowed(h ws.Header, first bool) bool {
	return r.anyRSV || h.Rsv == 0 || (first && h.Rsv == ws.Rsv(true, false, false))
}

// cutShort makes an end of the stream inside a frame an error of its own.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
