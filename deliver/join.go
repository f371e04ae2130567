package deliver

import (
	"errors"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// place is where a session that reads topics as it is told stands in one of them.
type place struct {
	log    *topic.Log
	cursor fairlead.Cursor
}

// passed reports whether the session stands at the cursor, or has gone past it.
func (p *place) passed(at fairlead.Cursor) bool {
	life, _, err := at.Parse()
	if err != nil {
		return false
	}
	here, _, err := p.cursor.Parse()
	return err == nil && life == here && at <= p.cursor // they sort within a life
}

// join lets the session read another topic, and returns where it stands there; by
// default it begins with what comes. topics are those that it reads already. Past
// the end of the topic, it is told which end it was.
func (s *session) join(topics map[string]*place, name string, after fairlead.Cursor) (fairlead.Cursor, error) {
	l, err := s.h.cfg.Topics.Get(name)
	if err != nil {
		return "", err
	}
	switch old := topics[name]; {
	case old != nil && old.log == l:
		return "", fairlead.Errorf(fairlead.Conflict, "the topic %q is subscribed already", name)
	case old != nil: // it was removed, and created again: what comes of it yet must not be lost
		return "", fairlead.Errorf(fairlead.Conflict, "the topic %q is subscribed as it was before it was removed: wait for its fault, and then subscribe again", name)
	case len(topics) >= s.h.cfg.MaxTopics:
		return "", fairlead.Errorf(fairlead.TooLarge, "this connection reads %d topics, as many as are allowed; open another", len(topics))
	}
	if after == "" {
		after = fairlead.Latest
	}
	start, err := add(s.reader, l, after)
	if errors.Is(err, topic.ErrPastEnd) {
		_, err = add(s.reader, l, stepBack(after))
		start = after
	}
	if err != nil {
		return "", err
	}
	s.began(resumes(after))
	topics[name] = &place{l, start}
	return start, nil
}

func notSubscribed(name string) error {
	return fairlead.Errorf(fairlead.NotFound, "the topic %q is not subscribed", name)
}

// moveOn notes where the session stands after the item, and reports whether the
// item is the last of its topic.
func moveOn(topics map[string]*place, item *topic.Item) (last bool) {
	at := topics[item.Log.Name()]
	if at == nil || at.log != item.Log {
		return false
	}
	at.cursor = item.Cursor
	return item.Kind == topic.KindEnd || item.Kind == topic.KindFault
}

func cursorsOf(topics map[string]*place) map[string]fairlead.Cursor {
	all := make(map[string]fairlead.Cursor, len(topics))
	for name, at := range topics {
		all[name] = at.cursor
	}
	return all
}
