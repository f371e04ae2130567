package websocket

import (
	"encoding/binary"
	"slices"

	"github.com/gobwas/ws"
)

// The types of control frames that a Parser returns beside messages.
const (
	Close MessageType = 8
	Ping  MessageType = 9
	Pong  MessageType = 10
)

// Message is what a [Parser] returns: a whole message, or a control frame.
type Message struct {
	// Kind is Text, Binary, Close, Ping or Pong; 0 when more input is needed.
	Kind MessageType
	// Payload is valid until the next call. Of a Close it is the reason.
	Payload []byte
	// Code is that of a Close; NoStatus when there is none.
	Code int
}

// Parser reads the frames of one direction (RFC 6455 §5) as bytes arrive. It
// starts no goroutine, and between messages it holds no memory but itself. It
// knows no extension. It judges as [Conn.Read] does, and is for who cannot wait
// in that; use [NewParser]. It is not safe for concurrent use.
type Parser struct {
	rules rules
	limit int64
	head  [ws.MaxHeaderSize]byte // the beginning of a header
	have  int8                   // bytes of it
	state *parsing               // nil between messages
}

// parsing is a message, or a frame, of which a part has arrived.
type parsing struct {
	message message
	inside  bool      // a frame
	header  ws.Header // its
	unread  int64     // bytes of its payload to come
	control []byte    // its payload, if it is a control frame
}

// NewParser returns a parser of what the peer of side sends: a server's parser
// reads a client's frames. A message may have maxMessage bytes; 0: 1 MiB.
func NewParser(side Side, maxMessage int64) Parser {
	if maxMessage <= 0 {
		maxMessage = Config{}.withDefaults().MaxMessage
	}
	return Parser{rules: rules{from: side.peer()}, limit: maxMessage}
}

// Next returns the first message or control frame that ends in the input, and
// the rest of the input; it is to be called again until it returns neither. It
// unmasks the input in place. The error is a [*ProtocolError], after which
// nothing can be parsed any more.
func (p *Parser) Next(in []byte) (Message, []byte, error) {
	for {
		if p.state == nil || !p.state.inside {
			h, rest, whole, err := p.header(in)
			if err != nil || !whole {
				return Message{}, nil, err
			}
			in = rest
			if broken := p.check(h); broken != nil {
				return Message{}, nil, broken
			}
			if m, rest, ok, err := p.atOnce(h, in); ok || err != nil {
				return m, rest, err
			}
			p.begin(h)
		}
		s := p.state
		n := int(min(s.unread, int64(len(in))))
		part := in[:n]
		in = in[n:]
		if s.header.Masked {
			ws.Cipher(part, s.header.Mask, int((s.header.Length-s.unread)%4))
		}
		s.unread -= int64(n)
		if s.header.OpCode.IsControl() {
			s.control = append(s.control, part...)
		} else {
			s.message.data = append(s.message.data, part...)
			if err := s.message.checkText(); err != nil {
				return Message{}, nil, err
			}
		}
		if s.unread > 0 {
			return Message{}, nil, nil
		}
		s.inside = false
		if m, ok, err := p.ended(s); ok || err != nil {
			return m, in, err
		}
	}
}

// header takes a frame's header from the input, and reports whether it is whole.
func (p *Parser) header(in []byte) (h ws.Header, rest []byte, whole bool, err error) {
	for {
		if need := headerSize(p.head[:p.have]); int(p.have) < need {
			if len(in) == 0 {
				return h, nil, false, nil
			}
			n := copy(p.head[p.have:need], in)
			in = in[n:]
			p.have += int8(n) //nolint:gosec // at most 14
			continue
		}
		p.have = 0
		h, err = decodeHeader(p.head[:])
		return h, in, err == nil, err
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

func decodeHeader(b []byte) (ws.Header, error) {
	h := ws.Header{Fin: b[0]&0x80 != 0, Rsv: b[0] & 0x70 >> 4, OpCode: ws.OpCode(b[0] & 0x0f), Masked: b[1]&0x80 != 0}
	length, mask := uint64(b[1]&0x7f), b[2:]
	switch b[1] & 0x7f {
	case 126:
		length, mask = uint64(binary.BigEndian.Uint16(b[2:])), b[4:]
	case 127:
		length, mask = binary.BigEndian.Uint64(b[2:]), b[10:]
	}
	if length >= 1<<63 {
		return h, errLongLength
	}
	h.Length = int64(length)
	if h.Masked {
		copy(h.Mask[:], mask)
	}
	return h, checkLength(b[1]&0x7f, h.Length)
}

// check judges a frame by its header, as Conn.Read does.
func (p *Parser) check(h ws.Header) *ProtocolError {
	if broken := p.rules.check(h); broken != nil || h.OpCode.IsControl() {
		return broken
	}
	begun := 0
	if h.OpCode == ws.OpContinuation && p.state != nil {
		begun = len(p.state.message.data)
	}
	if h.Length > p.limit-int64(begun) {
		return tooBig()
	}
	return nil
}

// atOnce returns a frame that is all in the input and no part of a longer
// message, without a copy.
func (p *Parser) atOnce(h ws.Header, in []byte) (m Message, rest []byte, ok bool, err error) {
	control := h.OpCode.IsControl()
	if int64(len(in)) < h.Length || !control && (!h.Fin || h.OpCode == ws.OpContinuation) {
		return m, nil, false, nil
	}
	payload := in[:h.Length]
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	if control {
		m, err = controlMessage(h.OpCode, payload)
		return m, in[h.Length:], true, err
	}
	whole := message{kind: MessageType(h.OpCode), limit: p.limit, data: payload}
	if err = whole.checkText(); err == nil {
		m.Kind = whole.kind
		m.Payload, err = whole.end(p.limit)
	}
	return m, in[h.Length:], true, err
}

// begin notes a frame of which not all has arrived.
func (p *Parser) begin(h ws.Header) {
	if p.state == nil {
		p.state = new(parsing)
	}
	s := p.state
	s.inside, s.header, s.unread = true, h, h.Length
	if h.OpCode.IsControl() {
		s.control = s.control[:0]
	} else if h.OpCode != ws.OpContinuation {
		s.message = message{}
		s.message.begin(h, p.limit)
	}
}

// ended returns what ends with the frame that was read.
func (p *Parser) ended(s *parsing) (m Message, ok bool, err error) {
	if s.header.OpCode.IsControl() {
		m, err = controlMessage(s.header.OpCode, slices.Clone(s.control))
		if !p.rules.fragmented {
			p.state = nil
		}
		return m, true, err
	}
	if !s.header.Fin {
		return m, false, nil
	}
	p.state = nil
	m.Kind = s.message.kind
	m.Payload, err = s.message.end(p.limit)
	return m, true, err
}

func controlMessage(op ws.OpCode, payload []byte) (Message, error) {
	if op != ws.OpClose {
		return Message{Kind: MessageType(op), Payload: payload}, nil
	}
	closed, broken := parseClose(payload)
	if broken != nil {
		return Message{}, broken
	}
	return Message{Kind: Close, Payload: []byte(closed.Reason), Code: closed.Code}, nil
}
