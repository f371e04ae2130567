package compress

import (
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// What precedes the hash in a body (RFC 9842 §4 and §5): the second is a zstd
// frame of 32 bytes that decoders skip.
const (
	dcbMagic = "\xff\x44\x43\x42"
	dczMagic = "\x5e\x2a\x4d\x18\x20\x00\x00\x00"
)

// newDCZ returns the coding dcz. Its fastest level has the best ratio of the two
// fast ones with a dictionary of samples, and is what libzstd calls 1.
func (d *Dictionary) newDCZ() *codec {
	head := dczMagic + string(d.hash[:])
	at := func(window int) func() coder {
		return func() coder {
			w, err := zstd.NewWriter(nil, append(rawDictionary(d.content, window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))...)
			if err != nil {
				panic(err) // the options are constants
			}
			return &headed{coder: w, to: headWriter{head: head}}
		}
	}
	body, stream := zstdWindow(len(d.content), 192<<10), zstdWindow(len(d.content), 32<<10)
	return &codec{
		name: "dcz", body: at(body), stream: at(stream),
		bodySize: zstdHeld(body), streamSize: zstdHeld(stream),
	}
}

// newDCB returns the coding dcb, at the level from which on the next ones save
// nothing with a dictionary.
func (d *Dictionary) newDCB(prepared *brrr.PreparedDictionary) *codec {
	head := dcbMagic + string(d.hash[:])
	at := func(window int) func() coder {
		return func() coder {
			w, err := brrr.NewWriterOptions(nil, 5, brrr.WriterOptions{LGWin: window, Dictionaries: []*brrr.PreparedDictionary{prepared}})
			if err != nil {
				panic(err) // the options are constants
			}
			return &headed{coder: w, to: headWriter{head: head}}
		}
	}
	return &codec{name: "dcb", body: at(18), stream: at(16), bodySize: 3840 << 10, streamSize: 2 << 20}
}

// rawDictionary are the options of coders with a dictionary without an id: it is
// the hash that says which one it is.
func rawDictionary(content []byte, window int) []zstd.EOption {
	return []zstd.EOption{
		zstd.WithEncoderDictRaw(0, content), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(window), zstd.WithEncoderCRC(false),
	}
}

// zstdWindow returns a window from which all of a dictionary is seen until size
// bytes of the body are there: at most 2 MiB, of 8 MiB that every client has
// (RFC 9842 §5).
func zstdWindow(dictionary, size int) int { return 1 << bits.Len(uint(dictionary+size-1)) }

// zstdHeld is what a coder holds: what it sees, two tables of 256 KiB, and blocks.
func zstdHeld(window int) int64 { return int64(window) + 896<<10 }

// headed is a coder whose bodies begin with the dictionary's hash.
type headed struct {
	coder

	to headWriter
}

func (h *headed) Reset(w io.Writer) {
	h.to.w, h.to.sent = w, false
	h.coder.Reset(&h.to)
}

// headWriter writes head before all else.
type headWriter struct {
	w    io.Writer
	head string
	sent bool
}

func (h *headWriter) Write(p []byte) (int, error) {
	if !h.sent {
		h.sent = true
		if _, err := io.WriteString(h.w, h.head); err != nil {
			return 0, err
		}
	}
	return h.w.Write(p)
}
