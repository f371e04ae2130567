package rpc

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/fairlead-edge/fairlead"
)

// maxIncoming is how many bytes of messages that are not whole yet all calls hold at
// most; one that has more to come then ends, with the code Overloaded.
const maxIncoming = 64 << 20

// envelope is how long the header of a message is in a call of gRPC, gRPC-Web or
// Connect's streams: flags, and a length of four bytes.
const envelope = 5

// incoming is the body of a call. A message that has begun is to come without
// stalling; between messages a client may take its time.
type incoming struct {
	io.ReadCloser

	line *line
	held *atomic.Int64 // by all calls of the handler

	enveloped bool
	header    [envelope]byte
	have      int    // bytes of the header
	left      uint32 // bytes of the message
	own       int64  // of held
}

func newIncoming(r *http.Request, l *line, held *atomic.Int64) *incoming {
	kind := r.Header.Get("Content-Type")
	return &incoming{
		ReadCloser: r.Body, line: l, held: held,
		enveloped: strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+"),
	}
}

var errIncoming = fairlead.Errorf(fairlead.Overloaded, "too many large messages are coming in at once: send this one again in a moment")

// Read reads within the line's patience, where something is owed.
func (b *incoming) Read(p []byte) (int, error) {
	if !b.enveloped || b.have > 0 || b.left > 0 {
		b.line.reading.Reset(b.line.patience)
		defer b.line.reading.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	if b.pass(p[:n]); b.held.Load() > maxIncoming && b.own > 0 {
		b.release()
		return 0, toStatus(errIncoming, nil)
	}
	if err != nil {
		b.release()
	}
	return n, err
}

// pass follows the messages, and counts what has come of one that is not whole.
func (b *incoming) pass(p []byte) {
	if !b.enveloped {
		b.keep(len(p))
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
		if b.keep(int(n)); b.left == 0 {
			b.release()
		}
	}
}

func (b *incoming) keep(n int) {
	b.held.Add(int64(n))
	b.own += int64(n)
}

// release has what has come not count any more.
func (b *incoming) release() {
	b.held.Add(-b.own)
	b.own = 0
}
