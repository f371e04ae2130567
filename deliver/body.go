package deliver

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// leftover is how long what remains of a refused request's body is read, so
// that the answer reaches a client that still sends.
const leftover = time.Second

// body is a request's body of which each part has its own deadline.
type body struct {
	io.ReadCloser

	rc    *http.ResponseController
	limit time.Duration
	whole bool // it was read to its end
}

// hasBody reports whether a request whose method has no body says that it has
// one. Over HTTP/2 and 3 no length says nothing yet, since the end of the stream
// may come after the header; and a WebSocket's stream stays open.
func hasBody(r *http.Request) bool {
	return r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor == 1
}

func newBody(w http.ResponseWriter, r *http.Request, limit time.Duration) *body {
	b := &body{ReadCloser: r.Body, rc: http.NewResponseController(w), limit: limit}
	b.whole = r.Body == nil || r.Body == http.NoBody
	return b
}

// Read reads within the deadline.
func (b *body) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(time.Now().Add(b.limit)) // a recorder in a test has none
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.whole = true
	}
	return n, err
}

// refuse prepares for an answer that does not wait for the rest of the body:
// net/http would read on after the handler, for as long as it takes.
func (b *body) refuse(w http.ResponseWriter, r *http.Request) {
	if b.whole || r.ProtoMajor != 1 {
		return
	}
	w.Header().Set("Connection", "close")
	_ = b.rc.SetReadDeadline(time.Now().Add(leftover))
}

// readBody reads a publish's body, up to its limit and while it makes progress.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, h.bodyTooLarge()
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBody))
	if err == nil {
		// A deadline that is left over would end the request later.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return slices.Clone(text), nil // events are kept: not more than they are
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, h.bodyTooLarge()
	}
	if e, ok := errors.AsType[*fairlead.Error](err); ok {
		return nil, e // a handler around this one knows better
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fairlead.Errorf(fairlead.RequestTimeout, "the body stopped arriving; nothing was stored")
	}
	if r.ProtoMajor > 1 && r.Context().Err() != nil || errors.Is(err, syscall.ECONNRESET) { // else it may have closed its half
		return nil, fairlead.Errorf(fairlead.Cancelled, "the client left before the body's end; nothing was stored")
	}
	return nil, fairlead.Errorf(fairlead.InvalidArgument, "the body ended before its length; nothing was stored")
}

func (h *Handler) bodyTooLarge() error {
	return fairlead.Errorf(fairlead.TooLarge, "a publish has at most %d bytes", h.cfg.MaxBody)
}
