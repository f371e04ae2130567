package deliver

import (
	"encoding/binary"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

// tally is what a session had sent at some moment.
type tally struct{ events, bytes uint64 }

func (s *session) tally() tally { return tally{s.events.Load(), s.bytes.Load()} }

// delivered tells of the events among items, which were given since then. extra are
// bytes of theirs that the session has not counted.
func (s *session) delivered(items []topic.Item, then tally, extra int) {
	told := s.h.cfg.Observer.Delivered
	events := s.events.Load() - then.events
	if told == nil || events == 0 {
		return
	}
	now := time.Now()
	d := Delivery{
		Transport: s.transport.String(), Events: int(events), Bytes: int(s.bytes.Load()-then.bytes) + extra, //nolint:gosec // of one write
		Delay: -1, Age: -1, First: -1, Gap: -1,
	}
	for i := range items {
		if items[i].Kind != topic.KindEvent {
			continue
		}
		r := items[i].Record
		at := r.Appended()
		if at.UnixNano() < s.since {
			continue
		}
		d.Delay = max(0, now.Sub(at))
		if !r.Event.Time.Equal(at) {
			d.Age = max(0, now.Sub(r.Event.Time))
		}
		break
	}
	if then.events == 0 {
		d.First = max(0, time.Duration(now.UnixNano()-s.since))
	}
	if last := s.conn.LastSent(); !last.IsZero() {
		d.Gap = max(0, now.Sub(last))
	}
	told(d)
}

// message tells of what is no event.
func (s *session) message(kind string, sent bool, size int) {
	s.h.cfg.Observer.Message(s.transport.String(), kind, sent, size)
}

// began tells how the session, or a subscription of it, begins.
func (s *session) began(resumed bool) {
	how := ResumedNot
	if resumed {
		how = ResumedFrom
	}
	s.h.cfg.Observer.Began(s.transport.String(), how)
}

// missed tells of a gap before the first event.
func (s *session) missed(item *topic.Item) {
	how := ResumedGap
	if item.Gap.Unknown {
		how = ResumedUnknown
	}
	s.h.cfg.Observer.Began(s.transport.String(), how)
}

// kinds are the kinds of what verbs ask for.
var kinds = [...]string{
	toSubscribe: KindSubscribe, toUnsubscribe: KindUnsubscribe, toPublish: KindPublish, toPing: KindPing,
	toAcknowledge: KindAcknowledge, toSetWindow: KindWindow, toAsk: KindRequest,
}

// A WebSocket's ping says when it was sent, so that its pong tells how long that took
// and nothing of it need be kept. Who sends another number only errs for itself.
const pingBytes = 8

func (s *socket) ping(out *fanout.Out) {
	payload := binary.BigEndian.AppendUint64(make([]byte, 0, pingBytes), uint64(time.Now().UnixNano()-s.since)) //nolint:gosec // not negative
	frame := websocket.AppendControl(nil, websocket.Ping, payload)
	s.message(KindPing, true, len(frame))
	out.Add(frame)
}

func (s *socket) pong(payload []byte) {
	s.message(KindPong, false, len(payload))
	if len(payload) != pingBytes {
		return
	}
	sent, now := binary.BigEndian.Uint64(payload), uint64(max(0, time.Now().UnixNano()-s.since)) //nolint:gosec // not negative
	if sent <= now && now-sent < uint64(s.h.cfg.Heartbeat)*(missedBeats+1) {
		s.h.cfg.Observer.Echoed(time.Duration(now - sent)) //nolint:gosec // bounded
	}
}

// resumes reports whether a reader that comes with the cursor has read before.
func resumes(after fairlead.Cursor) bool { return after != "" && !after.IsWord() }
