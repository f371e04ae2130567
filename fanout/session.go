package fanout

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Session is what a connection carries. Its methods are called one at a time, by
// a goroutine that serves others too: they must not block, nor call methods of
// its Conn other than Wake, Reset and Stats.
type Session interface {
	// Pull puts what is to be sent next into out. It is called at the start, when
	// the session was woken and when it has asked for it, each time after all
	// that it gave before has been written.
	Pull(out *Out)
	// Receive is given what the client sent; p is the caller's again when it
	// returns.
	Receive(out *Out, p []byte)
	// Beat puts a sign of life into out. It is called when nothing was sent for
	// Options.Heartbeat, or nothing received where Options.Silence bounds that.
	Beat(out *Out)
	// Closed is called last, and once: the connection has been closed. err is why:
	// nil when the session ended it and all was written, else one of this
	// package's errors, or of the system's.
	Closed(err error)
}

// Why a connection was closed.
var (
	ErrGone    = errors.New("fanout: the client has gone")
	ErrStalled = errors.New("fanout: the client takes nothing")
	ErrSilent  = errors.New("fanout: the client has fallen silent")
	ErrReset   = errors.New("fanout: the connection was reset")
	ErrClosed  = errors.New("fanout: the engine is closed")
)

// PanicError is told to Session.Closed when a method of the session panicked, or
// what it gave to Out.Work: that ends one connection, and not all the others.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // of the goroutine
}

// Error returns the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("fanout: a session panicked: %v\n%s", e.Value, e.Stack)
}

// Options are how a connection is served. They are the same for many, which
// share one value; it must not be changed.
type Options struct {
	// Heartbeat is after how long without a byte sent, or with Silence received,
	// Session.Beat is called, give or take a tenth. 0: never.
	Heartbeat time.Duration
	// Silence is how long the client may send nothing before its connection is
	// closed with ErrSilent. While what it sent is worked on (Out.Work), it is not
	// read from, or it has yet to take what it was sent, it is not silent. 0: for
	// ever.
	Silence time.Duration
	// WriteTimeout is how long the client may take no byte before its connection
	// is closed with ErrStalled. Default 30 s.
	WriteTimeout time.Duration
	// Burst is how many bytes a client may send at once of which none asks for work
	// (Out.Work); then it is read from at 1.3 MB/s, until some do. It is to be more
	// than the largest message that may come. Default 4 MiB.
	Burst int
}

const defaultWriteTimeout = 30 * time.Second

func (o *Options) writeTimeout() time.Duration {
	if o.WriteTimeout > 0 {
		return o.WriteTimeout
	}
	return defaultWriteTimeout
}

// roundBytes is how much a session may give at once, so that others have their
// turn; a single frame may be larger.
const roundBytes = 64 << 10

// Out is what a session gives for sending. It is valid until the method returns
// that it was given to.
type Out struct {
	frames [][]byte
	copied []byte // what Add copied since the last frame that is shared
	bytes  int

	more bool
	due  time.Time
	end  *End
	work func()
}

// End says how a connection is closed.
type End struct {
	// Within is how long what was given may take to be written before the
	// connection is reset. 0: Options.WriteTimeout for each byte of it.
	Within time.Duration
	// Linger is how long the client may take to close its own half when all was
	// written; what it sends meanwhile is given to Session.Receive, some 1.3 MB a
	// second at most. 0: the connection is closed at once.
	Linger time.Duration
	// HalfClose closes the sending half before Linger begins, for protocols where
	// the client waits for that.
	HalfClose bool
}

// Share adds a frame that nobody changes any more. It is not copied.
func (o *Out) Share(frame []byte) {
	if len(frame) == 0 {
		return
	}
	o.flushCopied()
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
}

// Add adds a copy of p.
func (o *Out) Add(p []byte) {
	o.copied = append(o.copied, p...)
	o.bytes += len(p)
}

// flushCopied makes a frame of what was copied; later copies go behind it.
func (o *Out) flushCopied() {
	if n := len(o.copied); n > 0 {
		o.frames = append(o.frames, o.copied[:n:n])
		o.copied = o.copied[n:]
	}
}

// Room returns how many bytes are left of what one call should give. A session
// that has more says so by More, and returns.
func (o *Out) Room() int { return roundBytes - o.bytes }

// More asks for another Pull as soon as all that was given has been written.
func (o *Out) More() { o.more = true }

// At asks for a Pull at a time, or earlier when the session is woken. A later
// call replaces it, as does the next Pull.
func (o *Out) At(t time.Time) { o.due = t }

// End closes the connection when all that was given has been written. Pull and
// Beat are not called any more. Given again, by Receive, it replaces what was
// said first.
func (o *Out) End(e End) { o.end = &e }

// Work runs f where it may block: on one of the engine's workers, or on the
// goroutine that reads. When it has returned, Pull is called, and nothing is read
// from the client before that: what a session answers is bounded so. When the
// connection is closed meanwhile, Closed is called at once. Only Receive may ask
// for it, once a call.
func (o *Out) Work(f func()) { o.work = f }

// reset makes o ready to be given to a session; what it held is nobody's.
func (o *Out) reset() {
	clear(o.frames)
	*o = Out{frames: o.frames[:0]}
}

// Stream is a connection as Serve sees it. When it is an io.Reader too, what it
// reads is given to the session, and its end is the client's going; else that is
// the end of Serve's context.
type Stream interface {
	// Write writes all of p and flushes it.
	io.Writer
	// SetWriteDeadline makes a Write fail at t, also one that waits.
	SetWriteDeadline(t time.Time) error
	// CloseWrite ends what is sent.
	CloseWrite() error
	// Close ends a Write and a Read that wait.
	Close() error
}

// Stats say where a connection stands.
type Stats struct {
	Sent, Received uint64    // bytes
	LastSent       time.Time // when a byte was, or when the connection began
	LastReceived   time.Time // likewise
	Buffered       int       // bytes that were given and not written
	Unsent         int       // bytes that the kernel holds and has not sent (SIOCOUTQNSD); -1 where that is not known
	Engine         bool      // an Engine serves it
}
