package deliver

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// protocolJSON is the subprotocol with many topics on one socket.
const protocolJSON = "fairlead.v1.json"

// pendingCommands is how many of a client's messages wait to be acted on or
// answered before no more of them is read.
const pendingCommands = 16

// missedBeats is for how many heartbeats in a row a client may send nothing,
// not even a pong, before its connection counts as half open.
const missedBeats = 2

// socket is a WebSocket session. The handler's goroutine alone writes, reads
// topics, and adds and removes them, so that what it sends is in order; a
// second goroutine reads the client's messages and hands commands over.
type socket struct {
	*session

	h        *Handler
	r        *http.Request
	conn     *websocket.Conn
	pulse    *pulse
	many     *many // nil on the socket of one topic
	sub      *subscription
	failGap  bool
	commands chan func() []byte // run by the handler; each returns a reply or nil
	busy     atomic.Bool        // the reading goroutine is not reading
	out      []byte
}

// serveOne serves one topic, an envelope a message.
func (h *Handler) serveOne(w http.ResponseWriter, r *http.Request, q *query) error {
	if len(websocket.Subprotocols(r)) > 0 {
		return fairlead.Errorf(fairlead.InvalidArgument, "the socket of one topic has no subprotocol; %s is spoken at %s", protocolJSON, h.cfg.Prefix)
	}
	reader := topic.NewReader()
	defer reader.Close()
	sub, err := h.subscribe(r.Context(), q, reader)
	if err != nil {
		return err
	}
	if sub == nil { // past the end: step back in front of it, to say which it was
		if sub, err = h.beforeEnd(r.Context(), q, reader); err != nil {
			return err
		}
	}
	conn, err := websocket.Accept(w, r, h.socketConfig(""))
	if err != nil {
		return nil //nolint:nilerr // Accept has answered
	}
	s := &socket{h: h, r: r, conn: conn, sub: sub, failGap: q.failOnGap}
	s.serve(reader, sub.resumed)
	return nil
}

func (h *Handler) socketConfig(subprotocol string) websocket.Config {
	cfg := websocket.Config{
		MaxMessage: h.cfg.MaxMessage, WriteTimeout: h.cfg.WriteTimeout,
		CheckOrigin: func(*http.Request) bool { return true }, // admitted already
	}
	if subprotocol != "" {
		cfg.Subprotocols = []string{subprotocol}
	}
	return cfg
}

// serve runs the session to its end.
func (s *socket) serve(reader *topic.Reader, resumed bool) {
	conn := s.conn
	s.session = s.h.begin(s.r, TransportWebSocket, reader, resumed, func() { _ = conn.CloseNow() })
	s.commands = make(chan func() []byte, pendingCommands)
	s.pulse = newPulse(s.ctx, s.h.cfg.Heartbeat)
	defer s.pulse.stop()
	var reading sync.WaitGroup
	reading.Go(s.readMessages)
	reason := s.run()
	s.cancel(nil)
	_ = conn.CloseNow() // run has said goodbye where that made sense
	reading.Wait()
	s.h.end(s.session, reason)
}

// readMessages reads the client's messages until the connection ends.
func (s *socket) readMessages() {
	for {
		kind, message, err := s.conn.Read()
		if err != nil || s.ctx.Err() != nil {
			s.cancel(errGone)
			return
		}
		s.busy.Store(true)
		s.handle(kind, message)
		s.busy.Store(false)
	}
}

// handle acts on a client's message, on the reading goroutine.
func (s *socket) handle(kind websocket.MessageType, message []byte) {
	switch {
	case s.many == nil:
		s.reply(errorReply(nil, fairlead.Errorf(fairlead.InvalidArgument,
			"this socket only delivers; to subscribe and publish use the subprotocol %s at %s", protocolJSON, s.h.cfg.Prefix)))
	case kind != websocket.Text:
		s.reply(errorReply(nil, fairlead.Errorf(fairlead.InvalidArgument, "%s is spoken in text messages; this one is binary", protocolJSON)))
	default:
		s.many.handle(message)
	}
}

// command hands f to the handler's goroutine; it waits while too many wait.
func (s *socket) command(f func() []byte) {
	select {
	case s.commands <- f:
		s.pulse.wake()
	case <-s.ctx.Done():
	}
}

func (s *socket) reply(message []byte) { s.command(func() []byte { return message }) }

// run sends until the session ends, and returns why.
func (s *socket) run() fairlead.Code {
	items, n := make([]topic.Item, batch), 0
	if s.sub != nil {
		items, n = s.sub.items, s.sub.pending
	}
	wrote := time.Now()
	for {
		if n > 0 {
			if reason, done := s.send(items[:n]); done {
				return reason
			}
			wrote = time.Now()
		}
		waiting := s.pulse.wait()
		acted, err := s.act()
		if err != nil {
			return s.lost(err)
		}
		if acted {
			wrote = time.Now()
		}
		if s.ctx.Err() != nil {
			return s.leave()
		}
		if n, err = s.reader.Next(waiting, items); err == nil || s.ctx.Err() != nil || !s.pulse.beat() {
			continue
		}
		if code := s.beat(wrote); code != "" {
			return code
		}
		s.pulse.put(time.Now())
	}
}

// act runs the commands that wait.
func (s *socket) act() (acted bool, err error) {
	for {
		select {
		case f := <-s.commands:
			acted = true
			if reply := f(); reply != nil {
				err = s.write(websocket.AppendFrame(nil, websocket.Text, reply))
			}
			if err != nil {
				return true, err
			}
		default:
			return acted, nil
		}
	}
}

// beat gives a sign of life to a silent connection, and looks for one.
func (s *socket) beat(wrote time.Time) fairlead.Code {
	silent := time.Since(s.conn.LastRead())
	if s.busy.Load() {
		silent = 0 // it is we who do not listen
	}
	// Beats vary by a tenth.
	if silent >= (missedBeats+1)*s.h.cfg.Heartbeat*9/10 {
		return fairlead.DeadlineExceeded
	}
	if silent < s.h.cfg.Heartbeat/2 && time.Since(wrote) < s.h.cfg.Heartbeat/2 {
		return ""
	}
	if err := s.conn.Ping(nil); err != nil {
		return s.lost(err)
	}
	return ""
}

// send writes items, many in one write, and reports whether they end the session.
func (s *socket) send(items []topic.Item) (fairlead.Code, bool) {
	s.out = s.out[:0]
	for i := range items {
		item := &items[i]
		if item.Kind == topic.KindLag || (item.Kind == topic.KindGap && s.failGap) {
			return s.tooSlow(item), true
		}
		frame := s.frame(item)
		s.count(item)
		s.moved(item)
		if len(items) == 1 {
			s.out = nil
			if err := s.write(frame); err != nil {
				return s.lost(err), true
			}
			break
		}
		s.out = append(s.out, frame...)
		if len(s.out) >= gather || i == len(items)-1 {
			if err := s.write(s.out); err != nil {
				return s.lost(err), true
			}
			s.out = s.out[:0]
		}
	}
	if cap(s.out) > 2*gather {
		s.out = nil
	}
	if last := &items[len(items)-1]; s.many == nil && (last.Kind == topic.KindEnd || last.Kind == topic.KindFault) {
		return s.closeAtEnd(last), true
	}
	return "", false
}

// moved notes where the reader stands after the item.
func (s *socket) moved(item *topic.Item) {
	if s.many != nil {
		s.many.moved(item)
		return
	}
	s.sub.places.set(item.Log.Name(), item.Cursor)
}

// frame returns the item as a WebSocket frame.
func (s *socket) frame(item *topic.Item) []byte {
	switch {
	case item.Kind != topic.KindEvent:
		_, member, payload := control(item, item.Log.Name())
		return websocket.AppendFrame(nil, websocket.Text, asMember(member, payload))
	case item.Skipped > 0 && s.many != nil:
		return websocket.AppendFrame(nil, websocket.Text, asMember("event", envelope(item)))
	case item.Skipped > 0:
		return websocket.AppendFrame(nil, websocket.Text, envelope(item))
	case s.many != nil:
		return item.Record.Frame(formatFrameMany, encodeFrameMany)
	}
	return item.Record.Frame(formatFrame, encodeFrame)
}

func (s *socket) write(frames []byte) error {
	s.bytes.Add(uint64(len(frames)))
	return s.conn.WriteFrame(frames)
}
