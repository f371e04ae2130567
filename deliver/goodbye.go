package deliver

import (
	"errors"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// finish begins the close handshake (RFC 6455 §7.1.2).
func (s *socket) finish(out *fanout.Out, reason fairlead.Code, code int, text string) {
	s.ending(reason)
	out.Add(websocket.AppendClose(nil, code, text))
	out.End(fanout.End{Linger: closeTimeout})
}

// tooSlow tries to tell a reader that fell behind where it stands. s.mu is held.
func (s *socket) tooSlow(out *fanout.Out, item *topic.Item) {
	code := fairlead.TooSlow
	if item.Kind == topic.KindGap {
		code = fairlead.OutOfRange
	}
	if s.many != nil && item.Kind == topic.KindLag {
		s.share(out, s.frame(item)) // the reason below cannot name its topic
	}
	s.giveUp(out, code, string(item.Gap.After))
}

// giveUp tries to tell a reader that it is given up.
func (s *socket) giveUp(out *fanout.Out, code fairlead.Code, text string) {
	s.ending(code)
	out.Add(websocket.AppendClose(nil, code.CloseCode(), text))
	out.End(fanout.End{Within: tooSlowPatience, Linger: tooSlowPatience})
}

// closedByPeer answers the client's close, or takes it for the answer to ours.
func (s *socket) closedByPeer(out *fanout.Out, code int) {
	if !s.ended {
		s.ending(fairlead.Cancelled)
		out.Add(websocket.AppendClose(nil, code, ""))
	}
	out.End(fanout.End{})
}

// broken tells a client that broke the protocol.
func (s *socket) broken(out *fanout.Out, err error) {
	if s.ended {
		out.End(fanout.End{})
		return
	}
	code, reason := websocket.ProtocolFault, ""
	if broken, ok := errors.AsType[*websocket.ProtocolError](err); ok {
		code, reason = broken.Code, broken.Reason
	}
	s.h.cfg.Observer.Failed(code)
	why := fairlead.InvalidArgument
	if code == websocket.MessageTooBig {
		why = fairlead.TooLarge
	}
	s.finish(out, why, code, reason)
}
