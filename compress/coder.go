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

// coder returns a coder and what it holds, in bytes.
func (c *codec) coder(stream bool) (coder, int64) {
	pool, make, size := &c.bodyPool, c.body, c.bodySize
	if stream {
		pool, make, size = &c.streamPool, c.stream, c.streamSize
	}
	if found, ok := pool.Get().(coder); ok {
		return &pooled{found, pool}, size
	}
	return &pooled{make(), pool}, size
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
