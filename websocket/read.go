package websocket

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// readStep bounds how much memory a declared length is believed for before the
// bytes are there.
const readStep = 32 << 10

// Read returns the next data message, which then belongs to the caller. Pings
// are answered meanwhile. It fails with a [*CloseError] when the peer closed
// the connection (the close has been echoed), with a [*ProtocolError] when the
// peer broke a rule (it has been told), and else with the stream's error. An
// error is final: each later Read returns it too.
func (c *Conn) Read() (MessageType, []byte, error) {
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	if c.readErr != nil {
		return 0, nil, c.readErr
	}
	t, p, err := c.message()
	if err == nil {
		return t, p, nil
	}
	if broken, ok := errors.AsType[*ProtocolError](err); ok {
		c.fail(broken)
		c.readErr = broken
	} else if closed, ok := errors.AsType[*CloseError](err); ok {
		c.readErr = closed
	} else {
		c.readErr = fmt.Errorf("websocket: read: %w", err)
	}
	return 0, nil, c.readErr
}

// message reads frames until a data message is whole.
func (c *Conn) message() (MessageType, []byte, error) {
	var m message
	for {
		h, err := readHeader(c.br)
		if err != nil {
			return 0, nil, err
		}
		c.unread = h.Length
		if broken := c.rules.check(h); broken != nil {
			return 0, nil, broken
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return 0, nil, err
			}
			continue
		}
		if h.OpCode != ws.OpContinuation {
			m.begin(h, c.cfg.MaxMessage)
		}
		if err := c.payload(h, &m); err != nil {
			return 0, nil, err
		}
		if h.Fin {
			p, err := m.end(c.cfg.MaxMessage)
			return m.kind, p, err
		}
	}
}

// message is a data message that is being read.
type message struct {
	kind       MessageType
	compressed bool
	data       []byte
	valid      int   // so many bytes of data are whole UTF-8 characters
	limit      int64 // of data, in bytes
}

func (m *message) begin(h ws.Header, limit int64) {
	m.kind, m.compressed, m.limit = MessageType(h.OpCode), h.Rsv1(), limit
	if m.compressed {
		m.limit += deflateOverhead(limit)
	}
}

// fits judges the length of the message's next frame.
func (m *message) fits(length int64) error {
	if length > m.limit-int64(len(m.data)) {
		return tooBig()
	}
	return nil
}

// payload appends a frame's payload to m, judging text as it arrives so that a
// bad message fails at its first bad byte.
func (c *Conn) payload(h ws.Header, m *message) error {
	if err := m.fits(h.Length); err != nil {
		return err
	}
	for c.unread > 0 {
		at := len(m.data)
		room := int(min(c.unread, int64(max(readStep, at))))
		m.data = slices.Grow(m.data, room)
		n, err := c.br.Read(m.data[at : at+room])
		m.data = m.data[:at+n]
		if h.Masked {
			ws.Cipher(m.data[at:], h.Mask, int((h.Length-c.unread)%4))
		}
		c.unread -= int64(n)
		if err != nil {
			return cutShort(err)
		}
		if err := m.checkText(); err != nil {
			return err
		}
	}
	return nil
}

func tooBig() *ProtocolError {
	return &ProtocolError{MessageTooBig, "a message over the limit"}
}

func (m *message) checkText() error {
	if m.kind != Text || m.compressed {
		return nil
	}
	n, ok := textPrefix(m.data[m.valid:])
	if !ok {
		return &ProtocolError{InvalidPayload, "text that is not UTF-8"}
	}
	m.valid += n
	return nil
}

// end returns the whole message.
func (m *message) end(limit int64) ([]byte, error) {
	if m.compressed {
		plain, err := inflate(m.data, limit)
		if err != nil {
			return nil, err
		}
		m.data, m.compressed = plain, false
		if err := m.checkText(); err != nil {
			return nil, err
		}
	}
	if m.kind == Text && m.valid != len(m.data) {
		return nil, &ProtocolError{InvalidPayload, "text that ends inside a UTF-8 character"}
	}
	if m.data == nil {
		m.data = []byte{}
	}
	return m.data, nil
}

// textPrefix reports whether p can be the beginning of UTF-8 text, and how many
// of its bytes are whole characters.
func textPrefix(p []byte) (int, bool) {
	whole := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if last := len(p) - i; utf8.RuneStart(p[last]) {
			if !utf8.FullRune(p[last:]) {
				whole = last
			}
			break
		}
	}
	return whole, utf8.Valid(p[:whole])
}

// control reads a control frame's payload and acts on it (RFC 6455 §5.5).
func (c *Conn) control(h ws.Header) error {
	p := c.scratch[:h.Length]
	if _, err := io.ReadFull(c.br, p); err != nil {
		return cutShort(err)
	}
	c.unread = 0
	if h.Masked {
		ws.Cipher(p, h.Mask, 0)
	}
	switch h.OpCode {
	case ws.OpPing:
		c.answer(p)
		return nil
	case ws.OpClose:
		closed, broken := parseClose(p)
		if broken != nil {
			return broken
		}
		c.echo(closed)
		return closed
	default:
		return nil // a pong: its bytes were the point
	}
}
