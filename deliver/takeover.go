package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/bits"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

// taken is a connection that net/http has given away.
type taken struct {
	conn  io.ReadWriteCloser
	early []byte // read already
	head  []byte // of the response, to be sent
}

// takeOver takes the connection of a request whose response is a stream from
// net/http, which would keep a goroutine and buffers for it. It returns nil where
// the handler is to respond: there is no engine, the connection is not plain
// HTTP/1.1, or the response is coded on its way.
func (h *Handler) takeOver(w http.ResponseWriter, r *http.Request) *taken {
	if h.cfg.Engine == nil || r.TLS != nil || r.ProtoMajor != 1 || r.ProtoMinor < 1 || hasBody(r) {
		return nil
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil // not supported: nothing has happened
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered()) // what is there
	// Of a handler that responds these are net/http's.
	_ = conn.SetDeadline(time.Time{})
	return &taken{conn: conn, early: bytes.Clone(early), head: responseHead(w.Header())}
}

// responseHead returns the beginning of a response whose body is chunked.
func responseHead(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	if header.Get("Date") == "" {
		header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	header.Set("Transfer-Encoding", "chunked")
	_ = header.Write(&b) // to a buffer
	b.WriteString("\r\n")
	return b.Bytes()
}

// hand gives a connection to the engine, or serves it where that cannot take it.
func (h *Handler) hand(ctx context.Context, t *taken, c *fanout.Conn, s fanout.Session, o *fanout.Options) {
	if conn, ok := t.conn.(net.Conn); ok && h.cfg.Engine != nil &&
		h.cfg.Engine.Add(c, fanout.Taken{Conn: conn, Early: t.early, First: t.head}, s, o) == nil {
		return
	}
	_ = fanout.Serve(ctx, c, &tunnel{ReadWriteCloser: t.conn, early: t.early, head: t.head}, s, o)
}

// tunnel is a connection that the engine cannot take.
type tunnel struct {
	io.ReadWriteCloser

	early, head []byte
}

func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(p, t.early)
		t.early = t.early[n:]
		return n, nil
	}
	return t.ReadWriteCloser.Read(p)
}

func (t *tunnel) Write(p []byte) (int, error) {
	if head := t.head; head != nil {
		t.head = nil
		if _, err := t.ReadWriteCloser.Write(head); err != nil {
			return 0, err
		}
	}
	return t.ReadWriteCloser.Write(p)
}

// SetWriteDeadline sets it where the connection has one.
func (t *tunnel) SetWriteDeadline(at time.Time) error {
	if c, ok := t.ReadWriteCloser.(interface{ SetWriteDeadline(at time.Time) error }); ok {
		return c.SetWriteDeadline(at)
	}
	return nil
}

// CloseWrite ends what is sent, where that is possible.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// response is a handler's response as the connection of a stream: each Write is
// flushed, through whatever wraps it.
type response struct {
	http.ResponseWriter

	rc *http.ResponseController
}

func (r response) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	if err == nil {
		err = r.rc.Flush()
	}
	return n, err
}

// SetWriteDeadline sets it where the writer has one; a recorder in a test has not.
func (r response) SetWriteDeadline(at time.Time) error {
	if err := r.rc.SetWriteDeadline(at); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// CloseWrite and Close do nothing: the response ends when the handler returns.
func (response) CloseWrite() error { return nil }

// Close is as CloseWrite.
func (response) Close() error { return nil }

// The chunked coding (RFC 9112 §7.1).
var lastChunk = []byte("0\r\n\r\n")

func appendChunk(dst, data []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// chunkData returns how many bytes of data a chunk of n bytes has.
func chunkData(n int) int {
	digits := (bits.Len(uint(n)) + 3) / 4 //nolint:gosec // not negative
	for ; digits > 1; digits-- {
		// With fewer digits it would not be the shortest form that appendChunk makes.
		if data := n - digits - len("\r\n\r\n"); data >= 1<<(4*(digits-1)) {
			return data
		}
	}
	return n - 1 - len("\r\n\r\n")
}
