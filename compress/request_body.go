package compress

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// body is a request's body, decoded as it is read. Nothing is read of what was
// sent before the first Read, for which a client may wait (Expect).
type body struct {
	cfg     *DecodeConfig
	codings []string
	wire    received

	failed atomic.Pointer[DecodeError]
	closed atomic.Bool

	mu     sync.Mutex // of what follows; it is held while a Read waits for the client
	out    io.Reader  // nil: not yet
	layers []layer
	err    error

	tooLarge *DecodeError // what has become longer than it may
}

// layer is a decoder with what it holds of the budget.
type layer struct {
	decoder

	held int64
}

func newBody(cfg *DecodeConfig, codings []string, wire io.ReadCloser) *body {
	return &body{cfg: cfg, codings: codings, wire: received{ReadCloser: wire}}
}

// received is what the client sent.
type received struct {
	io.ReadCloser

	bytes int64
	err   error // other than io.EOF
}

func (r *received) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.bytes += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	n, err := b.read(p)
	b.mu.Unlock()
	if b.closed.Load() {
		b.free() // meanwhile, when it could not
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n := 0
	err := error(nil)
	if b.out == nil {
		err = b.open()
	}
	if err == nil {
		n, err = b.out.Read(p)
	}
	if err != nil {
		b.err = b.blame(err)
		if failed, ok := errors.AsType[*DecodeError](b.err); ok {
			b.failed.Store(failed)
		}
		b.drop()
	}
	return n, b.err
}

// open puts the decoders one over the other.
func (b *body) open() error {
	var r io.Reader = &b.wire
	for _, coding := range b.codings {
		d := decoders[coding].Get().(decoder) //nolint:forcetypeassert // nothing else is in it
		held, err := d.open(r)
		if err != nil {
			d.release()
			return err
		}
		if !b.cfg.Budget.take(held) {
			d.release()
			return &DecodeError{http.StatusServiceUnavailable, errors.New("there is no memory left to decode the request's body: try again")}
		}
		b.layers = append(b.layers, layer{d, held})
		r = &limited{Reader: d, b: b}
	}
	b.out = r
	return nil
}

// blame returns the error of a read: that of the connection, or why the body
// cannot be decoded.
func (b *body) blame(err error) error {
	switch _, known := errors.AsType[*DecodeError](err); {
	case b.tooLarge != nil:
		return b.tooLarge // whatever the decoder above has made of it
	case known:
		return err
	case b.wire.err != nil:
		return b.wire.err
	case err == io.EOF: //nolint:errorlint // in the middle of a body it is another one
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, errWindow):
		return &DecodeError{http.StatusRequestEntityTooLarge, fmt.Errorf("the request's body needs too much memory to be decoded: %w", errWindow)}
	}
	return &DecodeError{http.StatusBadRequest, fmt.Errorf("the request's body is not what its Content-Encoding says: %w", err)}
}

// limited is what a decoder gives, up to the limits. Those between two decoders
// have them, too: what they give may be something to skip.
type limited struct {
	io.Reader

	b     *body
	bytes int64
}

func (l *limited) Read(p []byte) (int, error) {
	most := min(l.b.cfg.MaxBytes, freeRatio+l.b.cfg.MaxRatio*l.b.wire.bytes)
	if room := most - l.bytes + 1; int64(len(p)) > room {
		p = p[:room]
	}
	n, err := l.Reader.Read(p)
	l.bytes += int64(n)
	if most = min(l.b.cfg.MaxBytes, freeRatio+l.b.cfg.MaxRatio*l.b.wire.bytes); l.bytes <= most {
		return n, err
	}
	l.b.tooLarge = &DecodeError{
		http.StatusRequestEntityTooLarge,
		fmt.Errorf("the request's body becomes longer than the %d bytes that it may: %w", most, &http.MaxBytesError{Limit: most}),
	}
	return n - int(l.bytes-most), l.b.tooLarge
}

// Close closes what is received, also in the middle of a Read.
func (b *body) Close() error {
	err := b.wire.Close()
	b.free()
	return err
}

// free ends the body for its handler. A Read that goes on (a transport's, behind
// the handler's back) frees it when it ends: nobody waits for it here.
func (b *body) free() {
	b.closed.Store(true)
	if b.mu.TryLock() {
		b.drop()
		b.mu.Unlock()
	}
}

// drop gives the decoders back.
func (b *body) drop() {
	for _, l := range b.layers {
		l.release()
		b.cfg.Budget.give(l.held)
	}
	b.layers, b.out = nil, nil
}
