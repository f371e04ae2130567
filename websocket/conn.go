package websocket

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Side is an end of a connection. It decides who masks (RFC 6455 §5.3).
type Side uint8

// The two ends.
const (
	Server Side = iota
	Client
)

func (s Side) peer() Side { return 1 - s }

// MessageType is the type of a data message (RFC 6455 §5.6).
type MessageType int

// The types of messages; the numbers are the opcodes.
const (
	Text   MessageType = 1 // UTF-8
	Binary MessageType = 2
)

// Config adjusts a connection. The zero value is ready to use.
type Config struct {
	// MaxMessage is the largest message accepted, in bytes, after
	// decompression; a larger one closes the connection with 1009. Default 1 MiB.
	MaxMessage int64
	// Compression offers or accepts permessage-deflate without context takeover
	// (RFC 7692). With [New] it says that the handshake agreed on it. Default off.
	Compression bool
	// CompressMin is the smallest message that is deflated, in bytes. Default 512.
	CompressMin int
	// WriteTimeout bounds each write to the stream, when the stream has
	// SetWriteDeadline. Default 30 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds the wait for the peer's half of a close handshake.
	// Default 5 s.
	CloseTimeout time.Duration
	// Subprotocols are those that the server speaks, or that the client asks
	// for, in order of preference. Default none.
	Subprotocols []string
	// CheckOrigin decides whether a server takes a handshake from the request's
	// Origin. Default: no Origin header, or one whose host and port are Host's.
	CheckOrigin func(*http.Request) bool
	// Refuse answers a handshake that a server refuses, and why: 400, 403, 405,
	// 426, 500 or 501, whose own header fields are set. Default: as text/plain.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, reason string)
}

func (c Config) withDefaults() Config {
	if c.MaxMessage <= 0 {
		c.MaxMessage = 1 << 20
	}
	if c.CompressMin <= 0 {
		c.CompressMin = 512
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = 5 * time.Second
	}
	return c
}

// Conn is a WebSocket connection after its handshake. All methods may be called
// concurrently; Reads take turns. Whatever an error said, the owner ends with
// [Conn.Close] or [Conn.CloseNow].
type Conn struct {
	rwc         io.ReadWriteCloser
	side        Side
	cfg         Config
	subprotocol string
	lastRead    atomic.Int64 // Unix nanoseconds

	// reading and writing are locks made of channels: they are held over I/O,
	// and who waits is freed when closing the stream fails the holder's I/O.
	reading chan struct{}
	writing chan struct{}

	// Guarded by reading.
	br      *bufio.Reader
	rules   rules
	unread  int64 // payload of the current frame that is still in the stream
	readErr error // why there will be no more messages
	scratch [ws.MaxControlFramePayloadSize]byte

	// Guarded by writing.
	writeErr error // why there will be no more frames

	pong atomic.Pointer[[]byte] // queued, as a frame

	closeOnce sync.Once
	closeErr  error
}

// New returns a connection on rwc, whose handshake is done. Closing rwc must
// make its Read and Write return. Of cfg, what a handshake needs is not used, and
// Compression says what was negotiated.
func New(rwc io.ReadWriteCloser, side Side, cfg Config) *Conn {
	return newConn(rwc, side, cfg, nil)
}

// readBuffer is the size of a connection's read buffer, in bytes.
const readBuffer = 4 << 10

// newConn is New with early, what the peer sent right behind its handshake.
func newConn(rwc io.ReadWriteCloser, side Side, cfg Config, early []byte) *Conn {
	c := &Conn{
		rwc: rwc, side: side, cfg: cfg.withDefaults(),
		reading: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		rules: rules{from: side.peer(), deflate: cfg.Compression},
	}
	c.lastRead.Store(time.Now().UnixNano())
	c.br = bufio.NewReaderSize(&source{conn: c, early: early}, readBuffer)
	return c
}

// source is the stream as Read sees it: early bytes first, each arrival noted.
type source struct {
	conn  *Conn
	early []byte
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	n, err := s.conn.rwc.Read(p)
	if n > 0 {
		s.conn.lastRead.Store(time.Now().UnixNano())
	}
	return n, err
}

// LastRead returns when the peer last sent a byte, of whatever frame, as seen
// by [Conn.Read]; at first, when the connection was made. It is proof of life
// only while a Read is going on.
func (c *Conn) LastRead() time.Time { return time.Unix(0, c.lastRead.Load()) }

// Subprotocol returns what the handshake agreed on, or "".
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Compressed reports whether permessage-deflate is in use.
func (c *Conn) Compressed() bool { return c.cfg.Compression }

// SetReadDeadline bounds [Conn.Read]: after t it fails, and so does each later
// one, for a message may have been cut. The zero time is no bound. The error is
// [errors.ErrUnsupported] when the stream has no deadlines.
func (c *Conn) SetReadDeadline(t time.Time) error {
	s, ok := c.rwc.(interface{ SetReadDeadline(t time.Time) error })
	if !ok {
		return fmt.Errorf("websocket: set read deadline: %w", errors.ErrUnsupported)
	}
	if err := s.SetReadDeadline(t); err != nil {
		return fmt.Errorf("websocket: set read deadline: %w", err)
	}
	return nil
}
