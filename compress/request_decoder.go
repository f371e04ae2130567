package compress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// maxWindow is how far back a body may refer, in bytes: what RFC 9659 has every
// decoder of zstd know.
const maxWindow = 8 << 20

var errWindow = fmt.Errorf("its window is over %d bytes", maxWindow)

// decoder decodes one body after the other.
type decoder interface {
	io.Reader
	// open begins a body; it returns how many bytes decoding it takes.
	open(r io.Reader) (int64, error)
	// release gives the decoder back for another body.
	release()
}

// decoders are those that are not in use.
var decoders = map[string]*sync.Pool{
	gzipName:   {New: func() any { return &gzipDecoder{} }},
	brotliName: {New: func() any { return &brotliDecoder{Reader: brrr.NewReader(nil), in: bufio.NewReaderSize(nil, 1)} }},
	zstdName:   {New: func() any { return newZstdDecoder() }},
}

// gzipDecoder decodes all members of a body (RFC 1952 §2.2).
type gzipDecoder struct{ gzip.Reader }

func (d *gzipDecoder) open(r io.Reader) (int64, error) { return 64 << 10, d.Reset(r) }

func (d *gzipDecoder) release() { decoders[gzipName].Put(d) }

type brotliDecoder struct {
	*brrr.Reader

	in *bufio.Reader
}

func (d *brotliDecoder) open(r io.Reader) (int64, error) {
	d.in.Reset(r)
	first, err := d.in.Peek(1)
	if err != nil {
		return 0, err
	}
	window := brotliWindow(first[0])
	if window > maxWindow {
		return 0, errWindow
	}
	d.Reset(d.in)
	return int64(window) + 128<<10, nil
}

// brotliWindow reads the window from the first byte of a stream (RFC 7932
// §9.1). What is no window the decoder refuses.
func brotliWindow(b byte) int {
	switch {
	case b&1 == 0:
		return 1 << 16
	case b&0x0e != 0:
		return 1 << (17 + b>>1&7)
	case b&0x70 == 0:
		return 1 << 17
	default:
		return 1 << (8 + b>>4&7)
	}
}

// Read finds what is behind the end, which brrr does not look for.
func (d *brotliDecoder) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != io.EOF { //nolint:errorlint // as io.Reader has it
		return n, err
	}
	if _, err = d.in.ReadByte(); err == nil {
		err = brrr.ErrExcessiveInput
	}
	return n, err
}

func (d *brotliDecoder) release() {
	_ = d.Close() // gives its window back, and never fails
	d.in.Reset(nil)
	decoders[brotliName].Put(d)
}

type zstdDecoder struct {
	*zstd.Decoder

	in *bufio.Reader
}

func newZstdDecoder() *zstdDecoder {
	// With a concurrency of 1 there are no goroutines.
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		panic(err) // the options are constants
	}
	return &zstdDecoder{Decoder: z, in: bufio.NewReader(nil)}
}

func (d *zstdDecoder) open(r io.Reader) (int64, error) {
	d.in.Reset(r)
	window, err := zstdFrameWindow(d.in)
	if err != nil {
		return 0, err
	}
	return int64(window) + 512<<10, d.ResetWithOptions(d.in, zstd.WithDecoderMaxWindow(window))
}

// zstdFrameWindow returns the most that the frames of a body may refer back:
// what the first one asks for, and 1 MiB or more, in case that they are of
// several sizes. A body that begins with something to skip may have the most.
func zstdFrameWindow(in *bufio.Reader) (uint64, error) {
	var h zstd.Header
	for n := 1; ; n++ { // not more than is there: a client may wait behind a short frame
		start, err := in.Peek(n)
		if err != nil && (n == 1 || !errors.Is(err, io.EOF)) {
			return 0, err
		}
		if wrong := h.Decode(start); wrong == nil {
			break
		} else if err != nil || n == zstd.HeaderMaxSize || !errors.Is(wrong, io.ErrUnexpectedEOF) {
			return 0, wrong
		}
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	switch {
	case h.Skippable:
		return maxWindow, nil
	case window > maxWindow:
		return 0, errWindow
	}
	return max(window, 1<<20), nil
}

func (d *zstdDecoder) release() {
	_ = d.Decoder.Reset(nil) // of nil it never fails
	d.in.Reset(nil)
	decoders[zstdName].Put(d)
}
