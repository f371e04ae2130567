package websocket

import (
	"slices"

	"github.com/gobwas/ws"
)

// The types of the control frames that a [Parser] returns beside messages; the
// numbers are the opcodes (RFC 6455 §5.5).
const (
	Close MessageType = 8
	Ping  MessageType = 9
	Pong  MessageType = 10
)

// Message is what a [Parser] returns: a whole message, or a control frame.
type Message struct {
	// Kind is Text, Binary, Close, Ping or Pong; 0 when more input is needed.
	Kind MessageType
	// Payload is the message, or the reason of a Close. It is valid until the
	// next call, and as long as the input is.
	Payload []byte
	// Code is that of a Close, or [NoStatus] when it had none.
	Code int
}

// Parser reads the frames of one direction (RFC 6455 §5) as their bytes arrive,
// and judges them as [Conn.Read] does. It is for a program that cannot keep a
// goroutine in that: between messages it holds no memory but its own 48 bytes.
// It knows no extension. Make one with [NewParser]; it is not to be copied once
// used, and not safe for concurrent use.
type Parser struct {
	rules  rules
	limit  int64
	state  *parsing               // nil between messages
	skip   int64                  // payload to pass over, once broken
	head   [ws.MaxHeaderSize]byte // the beginning of a header
	have   uint8                  // bytes of it
	broken bool                   // an error was returned
	over   bool                   // nothing is to come, or can be found
}

// parsing is a message, or a control frame, of which a part has arrived.
type parsing struct {
	message message
	control []byte    // the payload of a control frame, also of one inside a message
	header  ws.Header // of the current frame
	unread  int64     // bytes of its payload that are still to come
	inside  bool      // a frame; else between a message's frames
}

// Idle reports whether the parser is between messages and holds nothing: a new one
// would do as well.
func (p *Parser) Idle() bool {
	return p.state == nil && p.have == 0 && !p.broken && !p.over && !p.rules.fragmented
}

// NewParser returns a parser of what the peer of side sends: the one of a
// [Server] reads what a client sends. A message may have maxMessage bytes; 0 or
// less: 1 MiB.
func NewParser(side Side, maxMessage int64) Parser {
	cfg := Config{MaxMessage: maxMessage}.withDefaults()
	return Parser{rules: rules{from: side.peer()}, limit: cfg.MaxMessage}
}

// Next returns the first message or control frame that ends in the input, and
// the rest of the input, for the next call; of Kind 0 when none ends there, all
// has been taken, and Next is to be called when more arrives. It takes off masks
// in the input itself.
//
// The error is a [*ProtocolError], for the caller to tell the peer with
// [AppendClose]. What the peer sends after it is passed over up to its Close,
// which is returned without code and reason; what follows a Close is dropped.
func (p *Parser) Next(in []byte) (m Message, rest []byte, err error) {
	for !p.over {
		if p.broken {
			return p.skipToClose(in)
		}
		var ended bool
		if p.state != nil && p.state.inside {
			m, in, ended, err = p.resume(in)
		} else {
			h, after, whole, broken := p.header(in)
			if !whole {
				return Message{}, nil, nil
			}
			if err = broken; err == nil {
				m, in, ended, err = p.frame(h, after)
			}
		}
		if err != nil {
			p.broken, p.state = true, nil
			return Message{}, in, err
		}
		if m.Kind == Close {
			p.over, p.state = true, nil
		}
		if ended {
			return m, in, nil
		}
		if p.state.inside {
			return Message{}, nil, nil
		}
	}
	return Message{}, nil, nil
}

// header takes a frame's header from the input, and reports whether it is whole.
func (p *Parser) header(in []byte) (h ws.Header, rest []byte, whole bool, err error) {
	for {
		need := headerSize(p.head[:p.have])
		if int(p.have) == need {
			p.have = 0
			h, err = decodeHeader(p.head[:need])
			p.over = err != nil // where the next frame begins is not known
			return h, in, true, err
		}
		if len(in) == 0 {
			return h, nil, false, nil
		}
		n := copy(p.head[p.have:need], in)
		in = in[n:]
		p.have += uint8(n) //nolint:gosec // at most 14
	}
}

// frame judges a header, and takes what the input has of the payload.
func (p *Parser) frame(h ws.Header, in []byte) (m Message, rest []byte, ended bool, err error) {
	if broken := p.rules.check(h); broken != nil {
		p.skip = h.Length
		return m, in, false, broken
	}
	alone := h.OpCode.IsControl() || h.Fin && h.OpCode != ws.OpContinuation
	if alone && h.Length <= min(int64(len(in)), p.limit) {
		m, err = p.whole(h, in[:h.Length:h.Length])
		return m, in[h.Length:], true, err
	}
	if p.state == nil {
		p.state = new(parsing)
	}
	s := p.state
	s.header, s.unread, s.inside = h, h.Length, true
	if !h.OpCode.IsControl() {
		if h.OpCode != ws.OpContinuation {
			s.message.begin(h, p.limit)
		}
		if err = s.message.fits(h.Length); err != nil {
			p.skip = h.Length
			return m, in, false, err
		}
	}
	return p.resume(in)
}

// whole returns a frame that is all in the input and no part of a longer
// message, without a copy.
func (p *Parser) whole(h ws.Header, payload []byte) (Message, error) {
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	if h.OpCode.IsControl() {
		return controlMessage(h.OpCode, payload)
	}
	var m message
	m.begin(h, p.limit)
	m.data = payload
	return dataMessage(&m)
}

// resume takes what the input has of the current frame.
func (p *Parser) resume(in []byte) (m Message, rest []byte, ended bool, err error) {
	s := p.state
	n := int(min(s.unread, int64(len(in))))
	part, rest := in[:n], in[n:]
	if s.header.Masked {
		ws.Cipher(part, s.header.Mask, int((s.header.Length-s.unread)%4))
	}
	s.unread -= int64(n)
	s.inside = s.unread > 0
	if s.header.OpCode.IsControl() {
		s.control = append(s.control, part...)
		if s.inside {
			return m, rest, false, nil
		}
		m, err = controlMessage(s.header.OpCode, s.control)
		s.control = nil
		if !p.rules.fragmented {
			p.state = nil
		}
		return m, rest, true, err
	}
	// How much is announced is believed as far as some of it has come.
	room := min(s.unread, int64(3*(len(s.message.data)+n)))
	s.message.data = append(slices.Grow(s.message.data, n+int(room)), part...)
	if err = s.message.checkText(); err != nil {
		p.skip = s.unread
		return m, rest, false, err
	}
	if s.inside || !s.header.Fin {
		return m, rest, false, nil
	}
	p.state = nil
	m, err = dataMessage(&s.message)
	return m, rest, true, err
}

// skipToClose passes over what arrives up to the peer's close frame.
func (p *Parser) skipToClose(in []byte) (Message, []byte, error) {
	for {
		n := min(p.skip, int64(len(in)))
		in = in[n:]
		p.skip -= n
		if p.skip > 0 {
			return Message{}, nil, nil
		}
		h, rest, whole, _ := p.header(in)
		if p.over || !whole {
			return Message{}, nil, nil
		}
		if h.OpCode == ws.OpClose {
			p.over = true
			return Message{Kind: Close, Code: NoStatus}, nil, nil
		}
		in, p.skip = rest, h.Length
	}
}

func dataMessage(m *message) (Message, error) {
	if err := m.checkText(); err != nil {
		return Message{}, err
	}
	data, err := m.end(m.limit)
	return Message{Kind: m.kind, Payload: data}, err
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
