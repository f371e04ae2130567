package deliver

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// errGone is the cause of a session whose client closed or lost its connection.
var errGone = errors.New("deliver: the client has gone")

// closeAtEnd closes a connection whose topic has ended or broken.
func (s *socket) closeAtEnd(item *topic.Item) fairlead.Code {
	if item.Kind == topic.KindFault {
		_ = s.conn.Close(fairlead.Fault.CloseCode(), string(item.Fault.Code))
		return fairlead.Fault
	}
	_ = s.conn.Close(websocket.NormalClosure, "")
	return ""
}

// tooSlow tries to tell a reader that fell behind where it stands.
func (s *socket) tooSlow(item *topic.Item) fairlead.Code {
	code := fairlead.TooSlow
	if item.Kind == topic.KindGap {
		code = fairlead.OutOfRange
	}
	cut := time.AfterFunc(tooSlowPatience, func() { _ = s.conn.CloseNow() })
	defer cut.Stop()
	if len(s.out) > 0 && s.write(s.out) != nil {
		return code
	}
	if s.many != nil && item.Kind == topic.KindLag {
		if s.write(s.frame(item)) != nil { // the reason below cannot name its topic
			return code
		}
	}
	_ = s.conn.Close(code.CloseCode(), string(item.Gap.After))
	return code
}

// leave ends a session whose context has ended: its client has gone, or is
// sent away.
func (s *socket) leave() fairlead.Code {
	cause := context.Cause(s.ctx)
	e, ok := errors.AsType[*fairlead.Error](cause)
	if !ok {
		return fairlead.Cancelled
	}
	if errors.Is(cause, errReset) {
		return fairlead.Draining
	}
	advice := marshal(wire.Draining{RetryAfterMS: e.RetryAfter.Milliseconds(), Cursors: s.cursors()})
	if err := s.write(websocket.AppendFrame(nil, websocket.Text, asMember("draining", advice))); err != nil {
		return s.lost(err)
	}
	_ = s.conn.Close(e.Code.CloseCode(), "come back later")
	return e.Code
}

// cursors are where to come back to.
func (s *socket) cursors() map[string]fairlead.Cursor {
	if s.many != nil {
		return s.many.cursors()
	}
	p := s.sub.places
	return map[string]fairlead.Cursor{p.names[0]: p.cursors[0]}
}

// lost tells a client that left from one that stalled.
func (s *socket) lost(err error) fairlead.Code {
	if e, ok := errors.AsType[*fairlead.Error](context.Cause(s.ctx)); ok {
		return e.Code
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fairlead.TooSlow
	}
	return fairlead.Cancelled
}
