package client

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/websocket"
)

// socketSession reads one topic as a message an event.
type socketSession struct {
	reader *reader
	conn   *websocket.Conn
	watch  *watch
	stop   func() bool // of what closes the connection when its context ends
}

func (r *reader) openWebSocket(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	w := newWatch(r.cfg.IdleTimeout, cancel)
	if err := r.locate(ctx); err != nil {
		w.stop()
		return nil, err
	}
	target := r.url
	if r.after != "" {
		target = with(target, map[string]string{"after": string(r.after)})
	}
	conn, resp, err := websocket.Dial(ctx, target.String(), r.dial(w))
	if err != nil {
		w.stop()
		switch {
		case resp == nil:
			return nil, err
		case resp.StatusCode == http.StatusNoContent:
			err = errEnded
		case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusSwitchingProtocols:
			err = fairlead.Errorf(fairlead.NotAcceptable, "the server does not speak WebSocket there: %v", err)
		default:
			err = responseError(resp)
		}
		resp.Body.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseNow() })
	return &socketSession{reader: r, conn: conn, watch: w, stop: stop}, nil
}

// dial returns how to connect: as the HTTP client does, if that can be known.
func (r *reader) dial(w *watch) websocket.DialConfig {
	d := websocket.DialConfig{Config: websocket.Config{MaxMessage: r.cfg.MaxEvent}, Header: r.header}
	dial := new(net.Dialer).DialContext
	if t, ok := r.cfg.HTTP.Transport.(*http.Transport); ok {
		d.TLS = t.TLSClientConfig
		if t.DialContext != nil {
			dial = t.DialContext
		}
	}
	d.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return watchedConn{conn, w}, nil
	}
	return d
}

// message is what a server sends: an envelope or a control member.
type message struct {
	wire.Message
	envelope
}

func (s *socketSession) next() (Item, error) {
	for {
		_, b, err := s.conn.Read()
		if err != nil {
			return Item{}, s.closed(err)
		}
		if item, known, err := s.item(b); known || err != nil {
			return item, err
		}
	}
}

// item turns a message into an item; those for the connection are not known.
func (s *socketSession) item(b []byte) (item Item, known bool, err error) {
	var m message
	err = json.Unmarshal(b, &m)
	if err != nil && m.Cursor == "" {
		return Item{}, false, fairlead.Errorf(fairlead.NotAcceptable, "the server sends what is not a topic's message; is the URL one?")
	}
	switch {
	case m.Draining != nil:
		s.reader.pause = milliseconds(m.Draining.RetryAfterMS)
		for _, cursor := range m.Draining.Cursors { // of the one topic
			s.reader.move(cursor)
		}
		return Item{}, false, nil
	case m.Gap != nil:
		return gapItem(m.Gap), true, nil
	case m.End != nil:
		return Item{Kind: KindEnd, Cursor: m.End.Cursor}, true, nil
	case m.Fault != nil:
		return Item{Kind: KindFault, Cursor: m.Fault.Cursor, Fault: m.Fault.Err()}, true, nil
	}
	return m.envelope.item(b, err), m.Cursor != "", nil
}

// closed makes of a close code what it says; other ends are the connection's.
func (s *socketSession) closed(err error) error {
	if broken, ok := errors.AsType[*websocket.ProtocolError](err); ok && broken.Code == websocket.MessageTooBig {
		return fairlead.Errorf(fairlead.TooLarge, "the server sends a message of more than %d bytes; Config.MaxEvent bounds it", s.reader.cfg.MaxEvent)
	}
	by, ok := errors.AsType[*websocket.CloseError](err)
	switch {
	case !ok:
		return err
	case by.Code == websocket.NormalClosure:
		return errEnded
	case by.Code == fairlead.Fault.CloseCode(): // which Cancelled shares
		return fairlead.Errorf(fairlead.Fault, "the source of the topic broke: %s", by.Reason)
	case by.Code == websocket.PolicyViolation:
		return fairlead.Errorf(fairlead.PermissionDenied, "%s", by.Reason)
	case by.Code < 4000:
		return err
	}
	for _, c := range fairlead.Codes() {
		if c.CloseCode() == by.Code {
			return fairlead.Errorf(c, "%s", by.Reason)
		}
	}
	return err
}

func (s *socketSession) close() {
	s.stop()
	s.watch.stop()
	_ = s.conn.CloseNow()
}
