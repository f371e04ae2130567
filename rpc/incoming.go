package rpc

import (
	"container/list"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// maxIncoming is how many bytes of messages that are not whole yet all calls hold at
// most. Beyond it the call whose message has been coming for the longest ends, with
// the code Overloaded: who stalls gives way to who sends.
const maxIncoming = 64 << 20

// small is how much of a message is not worth giving way for, in bytes.
const small = 64 << 10

// arrivals are the messages of more than small bytes that are coming in.
type arrivals struct {
	mu    sync.Mutex
	bytes int64
	calls list.List // of *incoming, the oldest message first
}

// keep counts what has come of a call's message.
func (a *arrivals) keep(b *incoming, n int) {
	a.mu.Lock()
	var late *incoming
	b.own += int64(n)
	switch {
	case b.place != nil:
		a.bytes += int64(n)
	case b.own > small:
		b.place = a.calls.PushBack(b)
		a.bytes += b.own
	}
	if a.bytes > maxIncoming {
		late = a.calls.Front().Value.(*incoming) //nolint:forcetypeassert // the list has no other
		late.evicted.Store(true)
		a.drop(late)
	}
	a.mu.Unlock()
	if late != nil {
		late.line.deafen()
	}
}

// release has what has come of a call's message not count any more.
func (a *arrivals) release(b *incoming) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(b)
}

// drop is release. a.mu is held.
func (a *arrivals) drop(b *incoming) {
	if b.place != nil {
		a.calls.Remove(b.place)
		a.bytes -= b.own
	}
	b.place, b.own = nil, 0
}

// envelope is how long the header of a message is in a call of gRPC, gRPC-Web or
// Connect's streams: flags, and a length of four bytes.
const envelope = 5

// incoming is the body of a call. A message that has begun is to come without
// stalling; between messages a client may take its time, unless there is to be one.
type incoming struct {
	io.ReadCloser

	line *line
	all  *arrivals

	one       bool // message is to come
	enveloped bool
	header    [envelope]byte
	have      int    // bytes of the header
	left      uint32 // bytes of the message
	evicted   atomic.Bool
	why       *fairlead.Error // why nothing more is read; of who reads

	// Guarded by arrivals.mu.
	own   int64         // bytes of the message that have come
	place *list.Element // nil when it is not counted
}

func newIncoming(r *http.Request, l *line, all *arrivals, one bool) *incoming {
	kind := r.Header.Get("Content-Type")
	return &incoming{
		ReadCloser: r.Body, line: l, all: all, one: one,
		enveloped: strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+"),
	}
}

var errIncoming = &fairlead.Error{
	Code: fairlead.Overloaded, Message: "too many large messages are coming in at once, and this one has for the longest: send it again in a moment",
	RetryAfter: time.Second,
}

// Read reads within the line's patience, where something is owed.
func (b *incoming) Read(p []byte) (int, error) {
	owed, began := b.one || !b.enveloped || b.have > 0 || b.left > 0, time.Now()
	if owed {
		b.line.reading.Reset(b.line.patience)
		defer b.line.reading.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	b.pass(p[:n])
	switch {
	case b.evicted.Load():
		b.why = errIncoming
	case owed && errors.Is(err, os.ErrDeadlineExceeded): // ours, or the listener's
		b.why = fairlead.Errorf(fairlead.RequestTimeout, "a message of this call stopped coming, with nothing of it for %v: make the call again, and send what is begun to its end",
			time.Since(began).Round(10*time.Millisecond))
	}
	if b.why != nil {
		b.all.release(b)
		return 0, toStatus(b.why, nil)
	}
	if err != nil {
		b.all.release(b)
	}
	return n, err
}

// pass follows the messages, and counts what has come of one that is not whole.
func (b *incoming) pass(p []byte) {
	if !b.enveloped {
		b.all.keep(b, len(p))
		return
	}
	for len(p) > 0 {
		if b.left == 0 {
			n := copy(b.header[b.have:], p)
			p, b.have = p[n:], b.have+n
			if b.have == envelope {
				b.have, b.left = 0, binary.BigEndian.Uint32(b.header[1:])
			}
			continue
		}
		n := min(uint32(len(p)), b.left) //nolint:gosec // a read is short
		p, b.left = p[n:], b.left-n
		if b.left == 0 {
			b.all.release(b)
		} else {
			b.all.keep(b, int(n))
		}
	}
}
