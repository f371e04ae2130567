package compress

import (
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// coder codes one body after the other.
type coder interface {
	io.Writer
	// Flush writes what is left of what was written, so that a decoder can give
	// it back.
	Flush() error
	// Close ends the body.
	Close() error
	// Reset begins another one, also in the middle of a body.
	Reset(w io.Writer)
}

// codec is a coding and its coders: those of a stream hold little memory, for
// they live long, and its parts are small; those of a body see far back.
type codec struct {
	name         string
	body, stream func() coder
	bodyPool     sync.Pool
	streamPool   sync.Pool
	bodySize     int64 // bytes that a coder holds
	streamSize   int64
}

// size returns how many bytes a coder holds.
func (c *codec) size(stream bool) int64 {
	if stream {
		return c.streamSize
	}
	return c.bodySize
}

// coder returns a coder, to be reset before its first use, and its size. Those
// that nobody uses are kept until the next but one garbage collection.
func (c *codec) coder(stream bool) (*pooled, int64) {
	pool, create := &c.bodyPool, c.body
	if stream {
		pool, create = &c.streamPool, c.stream
	}
	if found, ok := pool.Get().(coder); ok {
		return &pooled{found, pool}, c.size(stream)
	}
	return &pooled{create(), pool}, c.size(stream)
}

// pooled is a coder that goes back to where it came from.
type pooled struct {
	coder

	pool *sync.Pool
}

func (p *pooled) free() {
	p.Reset(nil)
	p.pool.Put(p.coder)
}

func gzipAt(level int) func() coder {
	return func() coder {
		w, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			panic(err) // the levels are constants
		}
		return w
	}
}

func brotliAt(level, window int) func() coder {
	return func() coder {
		w, err := brrr.NewWriterOptions(nil, level, brrr.WriterOptions{LGWin: window})
		if err != nil {
			panic(err) // the levels are constants
		}
		return w
	}
}

func zstdAt(level zstd.EncoderLevel, window int) func() coder {
	return func() coder {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(window),
			zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // the options are constants
		}
		return w
	}
}
