package websocket_test

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var errReset = errors.New("connection reset")

// flow is one direction of a pipe.
type flow struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	room   int   // capacity in bytes
	ended  error // what the reader gets once buf is empty
	broken error // what the writer gets
	writes int   // calls of Write
}

func newFlow(room int) *flow {
	f := &flow{room: room}
	f.cond = sync.NewCond(&f.mu)
	return f
}

func (f *flow) end(reader, writer error, drop bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil || drop {
		f.ended = reader
	}
	if f.broken == nil {
		f.broken = writer
	}
	if drop {
		f.buf = nil
	}
	f.cond.Broadcast()
}

// end is one end of an in-memory connection with bounded buffers.
type end struct{ in, out *flow }

// pipe returns a connection that holds room bytes a direction.
func pipe(room int) (*end, *end) {
	a, b := newFlow(room), newFlow(room)
	return &end{a, b}, &end{b, a}
}

func (e *end) Read(p []byte) (int, error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for len(e.in.buf) == 0 && e.in.ended == nil {
		e.in.cond.Wait()
	}
	if len(e.in.buf) == 0 {
		return 0, e.in.ended
	}
	n := copy(p, e.in.buf)
	e.in.buf = e.in.buf[n:]
	e.in.cond.Broadcast()
	return n, nil
}

func (e *end) Write(p []byte) (int, error) {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	e.out.writes++
	for n := 0; ; {
		if e.out.broken != nil {
			return n, e.out.broken
		}
		k := min(len(p)-n, e.out.room-len(e.out.buf))
		e.out.buf = append(e.out.buf, p[n:n+k]...)
		n += k
		e.out.cond.Broadcast()
		if n == len(p) {
			return n, nil
		}
		e.out.cond.Wait()
	}
}

// Close lets the peer read what was written and then the end.
func (e *end) Close() error {
	e.out.end(io.EOF, io.ErrClosedPipe, false)
	e.in.end(io.ErrClosedPipe, io.ErrClosedPipe, true)
	return nil
}

// reset breaks both directions at once.
func (e *end) reset() {
	e.out.end(errReset, errReset, true)
	e.in.end(errReset, errReset, true)
}

// held is how many bytes wait to be read by the peer.
func (e *end) held() int {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	return len(e.out.buf)
}

func (e *end) writes() int {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	return e.out.writes
}

// raw encodes a frame as its parts say, right or wrong.
func raw(h ws.Header, payload []byte) []byte {
	h.Length = int64(len(payload))
	f := ws.Frame{Header: h, Payload: payload}
	if h.Masked {
		f = ws.MaskFrameWith(f, [4]byte{1, 2, 3, 4})
	}
	return ws.MustCompileFrame(f)
}

// masked encodes a frame of a client.
func masked(op ws.OpCode, fin bool, payload string) []byte {
	return raw(ws.Header{Fin: fin, OpCode: op, Masked: true}, []byte(payload))
}

// plain encodes a frame of a server.
func plain(op ws.OpCode, fin bool, payload string) []byte {
	return raw(ws.Header{Fin: fin, OpCode: op}, []byte(payload))
}

func closeBody(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason //nolint:gosec // small
}

func join(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// nextFrame reads a frame as a foreign peer would: the payload is unmasked, the
// header is as sent.
func nextFrame(t *testing.T, r io.Reader) ws.Frame {
	t.Helper()
	f, err := readFrame(r)
	if err != nil {
		t.Fatalf("reading a frame: %v", err)
	}
	return f
}

func readFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	p := make([]byte, h.Length)
	if _, err := io.ReadFull(r, p); err != nil {
		return ws.Frame{}, err
	}
	if h.Masked {
		ws.Cipher(p, h.Mask, 0)
	}
	return ws.Frame{Header: h, Payload: p}, nil
}

// finish plays the peer's part of a close: it reads up to the close frame,
// replies, closes, and returns the code, or 0 when there was none.
func finish(e *end, side ws.State) int {
	defer func() { _ = e.Close() }()
	for {
		f, err := readFrame(e)
		if err != nil {
			return 0
		}
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		reply := ws.Header{Fin: true, OpCode: ws.OpClose, Masked: side == ws.StateClientSide}
		_, _ = e.Write(raw(reply, f.Payload))
		if len(f.Payload) < 2 {
			return 1005
		}
		return int(binary.BigEndian.Uint16(f.Payload))
	}
}
