package capture

import (
	"net/http"

	"github.com/fairlead-edge/fairlead"
)

// reconnect answers a request that brings a cursor of ours to the URL it is
// from; nil: it goes upstream, as out.
//
// A stream that is over answers what the reader lacks only where the upstream
// could not: with an id of its own at or before the cursor the request goes
// there, and without one a new call would begin anew.
func (t *transport) reconnect(req, out *http.Request, s *stream) (*http.Response, error) {
	given := req.Header.Get("Last-Event-ID")
	id, seq, ok := parseCursor(given)
	if !ok {
		s.base = given
		return nil, nil
	}
	out.Header.Del("Last-Event-ID")
	earlier, what := t.store.find(id, func(_ *stream, o owner) bool { return o.is(s.owner) })
	if what == foundEvicted {
		return nil, nil
	}
	unknown := fairlead.Errorf(fairlead.NotFound, "there is no such stream to go on with; leave Last-Event-ID out for a new one")
	if what == foundNothing || earlier.target != s.target {
		return refusal(req, unknown), nil
	}
	earliest, latest := earlier.bounds()
	p, lastEvent := earlier.now()
	if seq > latest+1 {
		return refusal(req, unknown), nil
	}
	seq = min(seq, latest)
	retained := seq+1 >= earliest
	behind := seq < lastEvent
	upstream := earlier.upstreamID(seq)
	switch {
	case p == live && !retained:
		return nil, nil
	case p == live, retained && behind && (t.cfg.EndFinal || upstream == ""):
		earlier.enter()
		t.store.count.resumed.Add(1)
		return earlier.response(req, seq)
	case t.cfg.EndFinal:
		return noContent(req), nil
	}
	if upstream != "" {
		out.Header.Set("Last-Event-ID", upstream)
	}
	s.base = upstream
	return nil, nil
}

// upstreamID returns the upstream's own last id at or before event seq.
func (s *stream) upstreamID(seq uint64) string {
	if s.form != asEvents {
		return ""
	}
	if r := s.record(seq); r != nil {
		return r.Event.Key
	}
	return s.base
}
