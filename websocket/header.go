package websocket

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/gobwas/ws"
)

// readHeader reads a frame header. The error is io.EOF only when the stream
// ended before it began.
func readHeader(br *bufio.Reader) (ws.Header, error) {
	size := ws.MinHeaderSize
	for {
		b, err := br.Peek(size)
		if err != nil {
			if len(b) > 0 {
				err = cutShort(err)
			}
			return ws.Header{}, err
		}
		if need := headerSize(b); need > size {
			size = need
			continue
		}
		h, err := decodeHeader(b)
		_, _ = br.Discard(size) // it is in the buffer
		return h, err
	}
}

// headerSize returns how long the header is that begins so, or how much of it
// must be known to say.
func headerSize(begun []byte) int {
	if len(begun) < ws.MinHeaderSize {
		return ws.MinHeaderSize
	}
	size := ws.MinHeaderSize
	switch begun[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if begun[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// decodeHeader decodes a whole header, and refuses a length that is not encoded
// as it must be (RFC 6455 §5.2).
func decodeHeader(b []byte) (ws.Header, error) {
	h := ws.Header{Fin: b[0]&0x80 != 0, Rsv: b[0] & 0x70 >> 4, OpCode: ws.OpCode(b[0] & 0x0f), Masked: b[1]&0x80 != 0}
	length, shortest, mask := uint64(b[1]&0x7f), uint64(0), b[2:]
	switch length {
	case 126:
		length, shortest, mask = uint64(binary.BigEndian.Uint16(mask)), 126, mask[2:]
	case 127:
		length, shortest, mask = binary.BigEndian.Uint64(mask), 1<<16, mask[8:]
	}
	switch {
	case length >= 1<<63:
		return h, &ProtocolError{ProtocolFault, "a frame length over 63 bits"}
	case length < shortest:
		return h, &ProtocolError{ProtocolFault, "a frame length that is not in its shortest form"}
	}
	h.Length = int64(length)
	if h.Masked {
		copy(h.Mask[:], mask)
	}
	return h, nil
}

// skipToClose throws away what arrives, first unread bytes of payload, up to
// the peer's close frame or the end of the stream. The caller bounds the wait.
func skipToClose(br *bufio.Reader, unread int64) {
	for {
		if _, err := io.CopyN(io.Discard, br, unread); err != nil {
			return
		}
		h, err := readHeader(br)
		if err != nil || h.OpCode == ws.OpClose {
			return
		}
		unread = h.Length
	}
}
