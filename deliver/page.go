package deliver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
)

// maxPage is after how many bytes of events a page is cut short.
const maxPage = 4 << 20

// servePage serves one topic as a page, and waits for the first event if asked.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request, q *query) error {
	began := time.Now()
	reader := topic.NewReader()
	reader.Unpaced = true
	defer reader.Close()
	q.fresh, q.batch = fairlead.Earliest, q.limit
	sub, err := h.subscribe(r.Context(), q, reader)
	if err != nil {
		return err
	}
	if sub == nil { // past the end: step back in front of it, to say which it was
		if sub, err = h.beforeEnd(r.Context(), q, reader); err != nil {
			return err
		}
	}
	rc := http.NewResponseController(w)
	s := &session{since: began.UnixNano(), reader: reader}
	call := &pageCall{hang: func() { _ = rc.SetWriteDeadline(time.Now()) }}
	call.ctx, call.cancel = context.WithCancelCause(r.Context())
	s.rarely().poll = call
	h.begin(s, r.RemoteAddr, overPoll, sub.resumed)
	s.began(sub.resumed)
	reason := fairlead.Code("")
	defer func() {
		call.over()
		s.end(reason)
	}()

	items := sub.items[:sub.pending]
	if sub.pending == 0 {
		if items, err = s.await(call.ctx, sub.items, q.wait); err != nil {
			reason = fairlead.AsError(err).Code
			return err
		}
		if r.Context().Err() != nil { // not for a drain; who has closed its half only is answered
			reason = fairlead.Cancelled
		}
	}
	if q.failOnGap && len(items) > 0 && items[0].Kind == topic.KindGap {
		reason = fairlead.OutOfRange
		return &gapError{gapOf(&items[0], "")}
	}
	if q.wait > 0 {
		w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(q.wait.Seconds())))
	}
	body := s.encodePage(items, sub.places.cursors[0])
	reader.Close() // who has the page and asks for the next one meets no other reader
	s.bytes.Add(uint64(len(body)))
	s.delivered(items, tally{}, 0, new(moment))
	if sendJSON(w, rc, http.StatusOK, body, h.cfg.WriteTimeout) != nil {
		reason = fairlead.Cancelled
		panic(http.ErrAbortHandler)
	}
	return nil
}

// await reads what there is, and waits up to wait for it.
func (s *session) await(ctx context.Context, items []topic.Item, wait time.Duration) ([]topic.Item, error) {
	if n := s.reader.Poll(items); n > 0 || wait == 0 {
		return items[:n], nil
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	n, err := s.reader.Next(waiting, items)
	if err == nil || ctx.Err() == nil {
		return items[:n], nil
	}
	if s.late {
		return nil, context.Cause(ctx)
	}
	return nil, nil // it is answered at once
}

// encodePage encodes a page of items that begins at the cursor.
func (s *session) encodePage(items []topic.Item, next fairlead.Cursor) []byte {
	b := []byte(`{"events":[`)
	var tail []byte
	first, closed, skipped := true, false, uint64(0)
	for i := range items {
		item := &items[i]
		if item.Kind == topic.KindGap && !first {
			break // it begins the next page
		}
		if item.Kind == topic.KindLag {
			break
		}
		s.count(item)
		next = item.Cursor
		if item.Kind == topic.KindEvent {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, envelope(item)...)
			if len(b) >= maxPage {
				break
			}
			continue
		}
		_, member, payload := control(item, "")
		if item.Kind != topic.KindGap {
			closed, skipped = true, item.Skipped
			member, payload = lastMember(item)
		}
		tail = append(append(append(append(tail, `,"`...), member...), `":`...), payload...)
	}
	b = append(b, `],"next":`...)
	b = wire.AppendString(b, string(next))
	b = strconv.AppendBool(append(b, `,"closed":`...), closed)
	if skipped > 0 {
		b = strconv.AppendUint(append(b, `,"skipped":`...), skipped, 10)
	}
	b = append(b, tail...)
	return append(b, '}', '\n')
}

// lastMember returns the end or fault of a page, which carries its cursor.
func lastMember(item *topic.Item) (member string, payload []byte) {
	if item.Kind == topic.KindFault {
		return "fault", marshal(wire.Fault{Cursor: item.Cursor, Code: item.Fault.Code, Message: item.Fault.Message})
	}
	return "end", marshal(wire.End{Cursor: item.Cursor})
}

// sendJSON writes a whole answer within the timeout.
func sendJSON(w http.ResponseWriter, rc *http.ResponseController, status int, body []byte, timeout time.Duration) error {
	header := w.Header()
	header.Set("Content-Type", mediaJSON)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	// Some writers have no deadlines, such as a recorder in a test.
	_ = rc.SetWriteDeadline(time.Now().Add(timeout))
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil { //nolint:gosec // JSON, and nosniff says so
		return err
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
