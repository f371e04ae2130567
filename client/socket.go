package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/websocket"
)

// socketSession reads one topic as a message an event.
type socketSession struct {
	reader *reader
	conn   *websocket.Conn
	stop   func() bool // of what closes the connection when its context ends
	ticker *time.Timer
}

func (r *reader) openWebSocket(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	target, err := url.Parse(r.url)
	if err != nil {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	if r.after != "" {
		q := target.Query()
		q.Set("after", string(r.after))
		target.RawQuery = q.Encode()
	}
	conn, resp, err := websocket.Dial(ctx, target.String(), websocket.DialConfig{
		Config: websocket.Config{MaxMessage: r.cfg.MaxEvent}, Header: r.cfg.header(),
	})
	if err != nil {
		if resp == nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == 204 {
			return nil, errEnded
		}
		refused := responseError(resp)
		r.pause = refused.RetryAfter
		return nil, refused
	}
	s := &socketSession{reader: r, conn: conn}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.CloseNow() })
	s.ticker = time.AfterFunc(r.cfg.IdleTimeout, func() { s.check(cancel) })
	return s, nil
}

// check gives the connection up when nothing arrived for too long.
func (s *socketSession) check(cancel context.CancelCauseFunc) {
	idle := s.reader.cfg.IdleTimeout
	if left := time.Until(s.conn.LastRead().Add(idle)); left > 0 {
		s.ticker.Reset(left)
		return
	}
	cancel(fmt.Errorf("%w for %s", errSilent, idle))
}

func (s *socketSession) next() (Item, error) {
	for {
		_, message, err := s.conn.Read()
		if err != nil {
			return Item{}, s.closed(err)
		}
		var m struct {
			wire.Message
			wire.Envelope
		}
		if err := json.Unmarshal(message, &m); err != nil {
			return Item{}, fairlead.Errorf(fairlead.NotAcceptable, "the server sends what is not a topic's message; is the URL one?")
		}
		switch {
		case m.Draining != nil:
			s.reader.pause = time.Duration(m.Draining.RetryAfterMS) * time.Millisecond
		case m.Gap != nil:
			return gapItem(m.Gap), nil
		case m.End != nil:
			return Item{Kind: KindEnd, Cursor: m.End.Cursor}, nil
		case m.Fault != nil:
			return Item{Kind: KindFault, Cursor: m.Fault.Cursor, Fault: m.Fault.Err()}, nil
		case m.Cursor != "":
			return eventItem(&m.Envelope), nil
		}
	}
}

// closed tells the ends that a close code names from a broken connection.
func (s *socketSession) closed(err error) error {
	if by, ok := errors.AsType[*websocket.CloseError](err); ok {
		if by.Code == websocket.NormalClosure {
			return errEnded
		}
		for _, c := range fairlead.Codes() {
			if c.CloseCode() == by.Code && by.Code >= 4000 {
				return fairlead.Errorf(c, "%s", by.Reason)
			}
		}
	}
	return err
}

func (s *socketSession) close() {
	s.stop()
	s.ticker.Stop()
	_ = s.conn.CloseNow()
}
