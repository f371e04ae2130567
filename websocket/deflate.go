package websocket

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"sync"
)

// deflateTail ends what a flush leaves; it is cut off by the sender and put
// back by the receiver (RFC 7692 §7.2). finalBlock lets the inflater end.
const (
	deflateTail = "\x00\x00\xff\xff"
	finalBlock  = "\x01\x00\x00\xff\xff"
)

// Without context takeover a coder has no state between messages, so that a
// few serve all connections: one deflater holds over 1 MB.
var (
	deflaters = sync.Pool{New: func() any {
		w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
		if err != nil {
			panic("websocket: impossible compression level: " + err.Error())
		}
		return w
	}}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(strings.NewReader("")) }}
)

// deflateOverhead is by how much data can grow when it cannot be compressed.
func deflateOverhead(n int64) int64 { return n>>10 + 64 }

// deflate appends p to f as the payload of a compressed message.
func deflate(f *frame, p []byte) error {
	w := deflaters.Get().(*flate.Writer) //nolint:errcheck // the pool holds nothing else
	defer deflaters.Put(w)
	w.Reset(f)
	if _, err := w.Write(p); err != nil {
		return fmt.Errorf("websocket: deflate: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("websocket: deflate: %w", err)
	}
	f.b = bytes.TrimSuffix(f.b, []byte(deflateTail))
	return nil
}

// inflate returns the plain payload of a compressed message, of at most limit
// bytes.
func inflate(p []byte, limit int64) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser) //nolint:errcheck // the pool holds nothing else
	defer inflaters.Put(r)
	in := io.MultiReader(bytes.NewReader(p), strings.NewReader(deflateTail+finalBlock))
	if err := r.(flate.Resetter).Reset(in, nil); err != nil { //nolint:errcheck // documented of flate.NewReader
		return nil, fmt.Errorf("websocket: inflate: %w", err)
	}
	var plain bytes.Buffer
	n, err := plain.ReadFrom(io.LimitReader(r, limit+1))
	if n > limit {
		return nil, tooBig()
	}
	if err != nil {
		return nil, &ProtocolError{InvalidPayload, "compressed data that cannot be inflated"}
	}
	return plain.Bytes(), nil
}
