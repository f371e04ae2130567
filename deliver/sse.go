package deliver

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

// serveSSE serves the query's topics as an event stream.
func (h *Handler) serveSSE(w http.ResponseWriter, r *http.Request, q *query) error {
	s := &stream{envelope: q.envelope, pings: q.pings, failOnGap: q.failOnGap}
	s.since, s.reader = time.Now().UnixNano(), topic.NewWokenReader(&s.conn)
	sub, err := h.subscribe(r.Context(), q, s.reader)
	if err != nil || sub == nil {
		s.reader.Close()
		if err == nil {
			w.WriteHeader(http.StatusNoContent) // which stops an EventSource
		}
		return err
	}
	s.open, s.cursor = int32(sub.open), sub.places.cursors[0] //nolint:gosec // at most maxStreamTopics
	if pending := sub.read(); pending != nil || len(q.topics) > 1 {
		s.some = &streamOfSome{pending: pending}
		if len(q.topics) > 1 {
			s.some.places = sub.places
		}
	}
	rc := http.NewResponseController(w)
	// The server's ReadTimeout is for requests; here it would cut the stream.
	_ = rc.SetReadDeadline(time.Time{})
	if r.ProtoMajor == 1 {
		// A stream has deadlines of its own, which the connection's next
		// response must not inherit.
		w.Header().Set("Connection", "close")
	}
	h.begin(&s.session, r.RemoteAddr, overSSE, sub.resumed)
	s.began(sub.resumed)
	sse.SetHeader(w.Header())
	if t := h.takeOver(w, r); t != nil {
		s.chunked, s.lease = true, h.cfg.Take(r)
		h.hand(r.Context(), t, &s.conn, s, &h.streams)
		return nil
	}
	s.lease = h.cfg.Stay(r)
	return s.respond(w, r)
}

// respond serves the stream as the response of a handler.
func (s *stream) respond(w http.ResponseWriter, r *http.Request) error {
	end, err := sse.NewWriter(w) // which sends the header
	if err != nil {
		s.end(fairlead.Cancelled)
		if errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("deliver: serve events: %w", err)
		}
		panic(http.ErrAbortHandler)
	}
	defer end.Close()
	_ = fanout.Serve(r.Context(), &s.conn, response{w, http.NewResponseController(w)}, s, &s.h.streams)
	if s.cut {
		panic(http.ErrAbortHandler)
	}
	return nil
}
