package deliver

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// tally is what a session had sent at some moment.
type tally struct{ events, bytes uint64 }

func (s *session) tally() tally { return tally{s.events.Load(), s.bytes.Load()} }

// moment is when a session was last given events, in milliseconds since its request
// came; it is right for 49 days.
type moment uint32

// delivered tells of the events among items, which were given since then. extra are
// bytes of theirs that the session has not counted, and last is when it was given the
// ones before.
func (s *session) delivered(items []topic.Item, then tally, extra int, last *moment) {
	o := &s.h.cfg.Observer
	events := s.events.Load() - then.events
	if o.Delivered == nil || events == 0 {
		return
	}
	now := time.Now().UnixNano()
	d := Delivery{
		Transport: s.transport.String(), Events: int(events), Bytes: int(s.bytes.Load()-then.bytes) + extra, //nolint:gosec // of one write
		Delay: -1, Age: -1, First: -1, Gap: -1,
	}
	s.lateness(items, now, &d)
	at := moment(max(0, now-s.since) / int64(time.Millisecond)) //nolint:gosec // it wraps
	if then.events == 0 {
		d.First = max(0, time.Duration(now-s.since))
	} else {
		d.Gap = time.Duration(at-*last) * time.Millisecond
	}
	*last = at
	o.Delivered(d)
	if o.Typed != nil {
		s.typed(items)
	}
}

// lateness fills in how late the oldest event is that was not there before the
// session.
func (s *session) lateness(items []topic.Item, now int64, d *Delivery) {
	for i := range items {
		if items[i].Kind != topic.KindEvent {
			continue
		}
		r := items[i].Record
		at := r.Appended()
		if at.UnixNano() < s.since {
			continue
		}
		d.Delay = max(0, time.Duration(now-at.UnixNano()))
		if !r.Event.Time.Equal(at) {
			d.Age = max(0, time.Unix(0, now).Sub(r.Event.Time))
		}
		return
	}
}

// typed tells of the types of events among items.
func (s *session) typed(items []topic.Item) {
	typ, n, bytes := "", 0, 0
	tell := func() {
		if n > 0 {
			s.h.cfg.Observer.Typed(s.transport.String(), typ, n, bytes)
		}
	}
	for i := range items {
		if items[i].Kind != topic.KindEvent {
			continue
		}
		e := &items[i].Record.Event
		if e.Type != typ {
			tell()
			typ, n, bytes = e.Type, 0, 0
		}
		n++
		bytes += len(e.Data)
	}
	tell()
}

// established tells that there is the first byte for the client.
func (s *session) established() {
	s.h.cfg.Observer.Established(s.transport.String(), max(0, time.Duration(time.Now().UnixNano()-s.since)))
}

// message tells of what is no event.
func (s *session) message(kind string, sent bool, size int) {
	if told := s.h.cfg.Observer.Message; told != nil {
		told(s.transport.String(), kind, sent, size)
	}
}

// answered tells how long a client's message took to be answered.
func (s *session) answered(kind string, took time.Duration) {
	s.h.cfg.Observer.Answered(s.transport.String(), kind, took)
}

// refused tells that the answer to a client's message is an error.
func (s *session) refused(kind string, err error) {
	s.h.cfg.Observer.Refused(s.transport.String(), kind, fairlead.AsError(err).Code)
}

// Message tells the handler's Observer of a message that is no event, of one of the
// kinds, which was sent or received.
func (f *Feed) Message(kind string, sent bool, m proto.Message) {
	if f.h.cfg.Observer.Message != nil { // else it need not be measured
		f.message(kind, sent, proto.Size(m))
	}
}

// Answered tells it how long a client's message of the kind took from its arrival to its
// answer.
func (f *Feed) Answered(kind string, took time.Duration) { f.answered(kind, took) }

// Refused tells it that the answer to a client's message of the kind is an error.
func (f *Feed) Refused(kind string, err error) { f.refused(kind, err) }

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

// pong tells of a pong. Pings are sent to who is sent nothing else, so that the last
// byte is the ping's, and no time need be kept for each; of one that was sent an event
// meanwhile the time is too short.
func (s *socket) pong(size int) {
	s.message(KindPong, false, size)
	took := time.Since(s.conn.LastSent())
	if took >= 0 && took < s.h.cfg.Heartbeat*(missedBeats+1) {
		s.h.cfg.Observer.Echoed(took)
	}
}

// resumes reports whether a reader that comes with the cursor has read before.
func resumes(after fairlead.Cursor) bool { return after != "" && !after.IsWord() }
