package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
)

// streams is the path under which captured streams live (RFC 8615).
const streams = "/.well-known/fairlead/streams/"

type sseSession struct {
	reader   *reader
	body     watchedBody
	decoder  *sse.Decoder
	envelope bool // each event's data is one
	final    bool // the body's clean end is the stream's
}

func (r *reader) openSSE(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	r.recognise(ctx)
	target := cmp.Or(r.stream, r.url)
	if r.word() {
		target = with(target, map[string]string{"after": string(r.after)})
	}
	req, err := r.request(ctx, target, sse.ContentType)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Cache-Control", "no-cache")
	if r.after != "" && !r.word() {
		if !sendable(string(r.after)) {
			return nil, fairlead.Errorf(fairlead.InvalidArgument, "the event id %.40q cannot be sent in a header", r.after)
		}
		req.Header.Set("Last-Event-ID", string(r.after))
	}
	w := newWatch(r.cfg.IdleTimeout, cancel)
	resp, err := r.cfg.HTTP.Do(req)
	w.stop()
	if err != nil {
		return nil, err
	}
	if err := admit(resp, sse.ContentType); err != nil {
		resp.Body.Close()
		return nil, err
	}
	r.recognised = true
	s := &sseSession{reader: r, body: watchedBody{resp.Body, w}, envelope: target.Query().Get("format") == "envelope"}
	s.decoder = sse.NewDecoder(s.body)
	s.decoder.Max = int(r.cfg.MaxEvent)
	if !r.word() {
		s.decoder.Resume(string(r.after))
	}
	if r.stream == nil {
		s.captured(resp)
	}
	return s, nil
}

// captured notes whether the answer is recorded, and where it can be resumed.
// The record itself, at that address, says with an event where it ends.
func (s *sseSession) captured(resp *http.Response) {
	r := s.reader
	u, err := resp.Request.URL.Parse(resp.Header.Get("Content-Location"))
	if err != nil || !strings.HasPrefix(u.Path, streams) {
		return
	}
	// A body that only the connection's end delimits ends the same when cut.
	s.final = resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0 || resp.ProtoMajor >= 2
	if u.Scheme != r.url.Scheme || u.Host != r.url.Host {
		return // credentials stay with the host they are for
	}
	// Who may read it can depend on the query.
	q := r.url.Query()
	for _, name := range []string{"after", "last_event_id", "offset"} {
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	r.stream = u
}

// admit checks that an answer is what was asked for.
func admit(resp *http.Response, want string) error {
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return errEnded
	default:
		return responseError(resp)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != want {
		return fairlead.Errorf(fairlead.NotAcceptable, "the server answers with %q, not with %s", resp.Header.Get("Content-Type"), want)
	}
	return nil
}

func (s *sseSession) next() (Item, error) {
	for {
		e, err := s.decoder.Next()
		if retry, ok := s.decoder.Retry(); ok {
			s.reader.retry = bounded(retry)
		}
		// An id without an event is a place to go on from, too.
		if id := s.decoder.LastEventID(); id != "" || !s.reader.word() {
			s.reader.move(fairlead.Cursor(id))
		}
		switch {
		case errors.Is(err, io.EOF) && s.final:
			return Item{Kind: KindEnd}, nil
		case errors.Is(err, sse.ErrTooLarge):
			return Item{}, fairlead.Errorf(fairlead.TooLarge, "the server sends an event of more than %d bytes; Config.MaxEvent bounds it", s.reader.cfg.MaxEvent)
		case err != nil:
			return Item{}, err
		}
		if item, known := s.item(e); known {
			return item, nil
		}
	}
}

// item turns an event into an item; events for the connection are not known.
func (s *sseSession) item(e sse.Event) (item Item, known bool) {
	cursor := fairlead.Cursor(s.decoder.LastEventID())
	switch e.Type {
	case fairlead.TypeGap:
		var g wire.Gap
		_ = json.Unmarshal(e.Data, &g) // the type says what it is
		item = gapItem(&g)
	case fairlead.TypeEnd:
		item.Kind = KindEnd
	case fairlead.TypeFault:
		f := wire.Fault{Message: "the source of the stream broke"}
		_ = json.Unmarshal(e.Data, &f) // the same
		item.Kind, item.Fault = KindFault, f.Err()
	case fairlead.TypeDraining:
		var d wire.Draining
		_ = json.Unmarshal(e.Data, &d) // there is a retry line, too
		s.reader.pause = milliseconds(d.RetryAfterMS)
		return Item{}, false
	case fairlead.TypePing:
		return Item{}, false
	default:
		item.Event = fairlead.Event{Type: e.Type, Data: e.Data}
		if s.envelope {
			var v envelope
			// An envelope names its topic; what else is JSON is data.
			if err := json.Unmarshal(e.Data, &v); v.Topic != "" {
				item = v.item(e.Data, err)
			}
		}
		item.Event.Cursor = cursor
	}
	item.Cursor = cursor
	return item, true
}

func (s *sseSession) close() {
	s.body.watch.stop()
	s.body.Close()
}
