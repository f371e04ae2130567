package deliver

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

const (
	// missedBeats is for how many heartbeats in a row a client may send nothing,
	// not even a pong, before its connection counts as half open.
	missedBeats = 2
	// closeTimeout is how long the other half of a close handshake is waited for.
	closeTimeout = 5 * time.Second
)

// socket is a WebSocket session.
type socket struct {
	session

	parser  *websocket.Parser // nil between messages
	cursor  fairlead.Cursor   // in its one topic
	reason  *fairlead.Code    // once ended
	many    *many             // nil on the socket of one topic
	failGap bool
	ended   bool   // a close frame is sent, or the client has gone
	last    moment // of events

	mu   sync.Mutex    // of some, and of many's topics
	some *socketOfSome // nil when there is nothing
}

// socketOfSome is what waits to be sent.
type socketOfSome struct {
	replies [][]byte     // frames
	pending []topic.Item // read already
	bye     *int         // the code with which the client has closed, once what it asked for before is done
}

// serveOne serves one topic, an envelope a message.
func (h *Handler) serveOne(w http.ResponseWriter, r *http.Request, q *query) error {
	if len(websocket.Subprotocols(r)) > 0 {
		return fairlead.Errorf(fairlead.InvalidArgument, "the socket of one topic has no subprotocol; %s and %s are spoken at %s", protocolJSON, protocolProto, h.cfg.Prefix)
	}
	s := &socket{failGap: q.failOnGap}
	s.since, s.reader = time.Now().UnixNano(), topic.NewWokenReader(&s.conn)
	sub, err := h.subscribe(r.Context(), q, s.reader)
	if sub == nil && err == nil { // past the end: step back in front of it, to say which it was
		sub, err = h.beforeEnd(r.Context(), q, s.reader)
	}
	if err != nil {
		s.reader.Close()
		return err
	}
	s.cursor = sub.places.cursors[0]
	if pending := sub.read(); pending != nil {
		s.some = &socketOfSome{pending: pending}
	}
	h.serveSocket(w, r, s, sub.resumed)
	return nil
}

// serveSocket accepts the handshake and serves the session.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request, s *socket, resumed bool) {
	cfg := websocket.Config{
		MaxMessage: h.cfg.MaxMessage, WriteTimeout: h.cfg.WriteTimeout,
		CheckOrigin: func(*http.Request) bool { return true }, // admitted already
		Refuse:      refuseHandshake,
	}
	if s.many != nil {
		cfg.Subprotocols = []string{pickDialect(r)}
	}
	t, err := websocket.Take(w, r, cfg)
	if err != nil { // and it is answered
		s.reader.Close()
		return
	}
	h.begin(&s.session, r.RemoteAddr, overWebSocket, resumed)
	s.established()
	if s.many == nil {
		s.began(resumed)
	}
	if h.cfg.Engine != nil && r.TLS == nil && r.ProtoMajor == 1 {
		s.lease = h.cfg.Take(r)
	} else {
		s.lease = h.cfg.Stay(r)
	}
	h.hand(r.Context(), &taken{conn: t.Stream, early: t.Early}, &s.conn, s, &h.sockets)
}

func refuseHandshake(w http.ResponseWriter, r *http.Request, status int, reason string) {
	code := fairlead.InvalidArgument
	if status == http.StatusForbidden {
		code = fairlead.PermissionDenied
	}
	sendProblem(w, r, fairlead.Errorf(code, "%s", reason), problem{Title: http.StatusText(status), Status: status, Detail: reason, Code: code})
}

// Pull gives replies, then what the topics have for the reader.
func (s *socket) Pull(out *fanout.Out) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if some := s.some; some != nil {
		s.some = nil
		for _, frame := range some.replies {
			s.share(out, frame)
		}
		if some.bye != nil {
			s.closedByPeer(out, *some.bye)
			return
		}
		if some.pending != nil {
			s.send(out, some.pending)
			out.More()
			return
		}
	}
	if why := s.away.Load(); why != nil {
		s.leave(out, why)
		return
	}
	most := pullItems
	if s.many != nil {
		most = s.many.window.room(most)
	}
	got := pull(s.reader, out, most)
	s.send(out, got.items)
	got.release()
}

// Beat gives a ping.
func (s *socket) Beat(out *fanout.Out) {
	s.message(KindPing, true, len(pingFrame))
	out.Share(pingFrame)
}

var pingFrame = websocket.AppendControl(nil, websocket.Ping, nil)

// Closed ends the session.
func (s *socket) Closed(err error) {
	if !s.ended {
		s.ending(s.lost(err))
	}
	if s.many != nil {
		s.many.leave()
	}
	s.end(*s.reason)
}

// ending notes that the session ends, and why.
func (s *socket) ending(reason fairlead.Code) { s.ended, s.reason = true, &reason }

// Receive reads the client's messages.
func (s *socket) Receive(out *fanout.Out, p []byte) {
	parser := s.parser
	if parser == nil {
		made := websocket.NewParser(websocket.Server, s.h.cfg.MaxMessage)
		parser = &made
	}
	s.read(out, parser, p)
	if s.parser = parser; parser.Idle() {
		s.parser = nil
	}
}

func (s *socket) read(out *fanout.Out, parser *websocket.Parser, p []byte) {
	var messages []received
	for len(p) > 0 {
		m, rest, err := parser.Next(p)
		p = rest
		if err != nil {
			s.broken(out, err)
			continue // for the answer to it
		}
		switch m.Kind {
		case websocket.Ping:
			s.message(KindPing, false, len(m.Payload))
			if !s.ended {
				frame := websocket.AppendControl(nil, websocket.Pong, m.Payload)
				s.message(KindPong, true, len(frame))
				out.Add(frame)
			}
		case websocket.Pong:
			s.pong(len(m.Payload))
		case websocket.Close:
			if len(messages) > 0 && s.many != nil { // which came before it
				out.Work(func() {
					s.many.handleAll(messages)
					s.sayBye(m.Code)
				})
				return
			}
			s.closedByPeer(out, m.Code)
			return
		case websocket.Text, websocket.Binary:
			s.spoke.Store(true)
			if !s.ended {
				messages = append(messages, received{m.Kind, bytes.Clone(m.Payload), time.Now()})
			}
		default: // not all of a message yet
		}
	}
	switch {
	case len(messages) == 0:
	case s.many == nil:
		for _, r := range messages {
			s.message(KindMalformed, false, len(r.text))
			out.Add(textFrame(errorReply(nil, fairlead.Errorf(fairlead.InvalidArgument,
				"this socket only delivers; to subscribe and publish use the subprotocol %s at %s", protocolJSON, s.h.cfg.Prefix))))
		}
	default:
		out.Work(func() { s.many.handleAll(messages) })
	}
}

// received is a client's message.
type received struct {
	kind websocket.MessageType
	text []byte
	at   time.Time
}

// sayBye has the client's close answered.
func (s *socket) sayBye(code int) {
	s.mu.Lock()
	if s.some == nil {
		s.some = new(socketOfSome)
	}
	s.some.bye = &code
	s.mu.Unlock()
	s.conn.Wake()
}

// answer has a frame sent. s.mu is held. What replies there can be at one time
// is bounded by what one read of the client's messages asks for.
func (s *socket) answer(frame []byte) {
	if s.some == nil {
		s.some = new(socketOfSome)
	}
	s.message(KindAnswer, true, len(frame))
	s.some.replies = append(s.some.replies, frame)
}

// send gives items until one that ends the session. s.mu is held.
func (s *socket) send(out *fanout.Out, items []topic.Item) {
	defer s.delivered(items, s.tally(), 0, &s.last)
	for i := range items {
		item := &items[i]
		if item.Kind == topic.KindLag || item.Kind == topic.KindGap && s.failGap {
			s.tooSlow(out, item)
			return
		}
		s.count(item)
		frame := s.frame(item)
		if item.Kind != topic.KindEvent {
			s.message(KindControl, true, len(frame))
		}
		s.share(out, frame)
		if s.many != nil {
			s.many.window.handed(item)
			s.many.moved(item)
			continue
		}
		s.cursor = item.Cursor
		switch item.Kind {
		case topic.KindEnd:
			s.finish(out, "", websocket.NormalClosure, "")
			return
		case topic.KindFault:
			s.finish(out, fairlead.Fault, fairlead.Fault.CloseCode(), string(item.Fault.Code))
			return
		default:
		}
	}
}

func (s *socket) share(out *fanout.Out, frame []byte) {
	s.bytes.Add(uint64(len(frame)))
	out.Share(frame)
}

// frame returns the item as a WebSocket frame.
func (s *socket) frame(item *topic.Item) []byte {
	switch {
	case s.many != nil:
		return s.many.speaks.item(item)
	case item.Kind != topic.KindEvent:
		_, member, payload := control(item, item.Log.Name())
		return textFrame(asMember(member, payload))
	case item.Skipped > 0:
		return textFrame(envelope(item))
	}
	return item.Record.Frame(formatFrame, encodeFrame)
}

// cursors are where to come back to. s.mu is held.
func (s *socket) cursors() map[string]fairlead.Cursor {
	if s.many != nil {
		return s.many.cursors()
	}
	all := make(map[string]fairlead.Cursor, 1)
	for _, at := range s.reader.Status() {
		all[at.Topic] = s.cursor
	}
	return all
}

// leave tells a client that is sent away when to come back. s.mu is held.
func (s *socket) leave(out *fanout.Out, why *fairlead.Error) {
	if why.Code == fairlead.TooSlow {
		text := why.Message // of several topics, one cursor would say nothing
		if s.many == nil {
			text = string(s.cursor)
		}
		s.giveUp(out, why.Code, text)
		return
	}
	advice := wire.Draining{RetryAfterMS: why.RetryAfter.Milliseconds(), Cursors: s.cursors()}
	if s.many != nil {
		s.share(out, s.many.speaks.draining(advice))
	} else {
		s.share(out, textFrame(asMember("draining", marshal(advice))))
	}
	s.finish(out, why.Code, why.Code.CloseCode(), "come back later")
}
