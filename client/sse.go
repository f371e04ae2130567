package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
)

// streams is the path under which captured streams live (RFC 8615).
const streams = "/.well-known/fairlead/streams/"

type sseSession struct {
	reader   *reader
	body     io.ReadCloser
	decoder  *sse.Decoder
	watch    *watch
	captured bool // the body's clean end is the stream's
}

func (r *reader) openSSE(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	target := r.url
	if r.stream != "" {
		target = r.stream
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	req.Header = r.cfg.header()
	req.Header.Set("Accept", sse.ContentType)
	req.Header.Set("Cache-Control", "no-cache")
	switch {
	case r.after.IsWord():
		q := req.URL.Query()
		q.Set("after", string(r.after))
		req.URL.RawQuery = q.Encode()
	case r.after != "":
		req.Header.Set("Last-Event-ID", string(r.after))
	}
	w := newWatch(r.cfg.IdleTimeout, cancel)
	resp, err := r.cfg.HTTP.Do(req)
	if err != nil {
		w.stop()
		return nil, err
	}
	if err := r.admit(resp); err != nil {
		w.stop()
		resp.Body.Close()
		return nil, err
	}
	s := &sseSession{reader: r, body: resp.Body, watch: w}
	s.decoder = sse.NewDecoder(watched{resp.Body, w})
	s.decoder.Max = int(r.cfg.MaxEvent)
	if at := resp.Header.Get("Content-Location"); strings.HasPrefix(at, streams) {
		u, err := resp.Request.URL.Parse(at)
		if err == nil && sameOrigin(u, resp.Request.URL) {
			r.stream, s.captured = u.String(), true
		}
	}
	return s, nil
}

// sameOrigin keeps credentials from being sent elsewhere.
func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// admit checks that a response is a stream.
func (r *reader) admit(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return errEnded
	case resp.StatusCode != http.StatusOK:
		err := responseError(resp)
		r.pause = err.RetryAfter
		return err
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != sse.ContentType {
		return fairlead.Errorf(fairlead.NotAcceptable, "the server answers with %q, not with %s", resp.Header.Get("Content-Type"), sse.ContentType)
	}
	return nil
}

func (s *sseSession) next() (Item, error) {
	for {
		e, err := s.decoder.Next()
		if pause, ok := s.decoder.Retry(); ok {
			s.reader.pause = pause
		}
		if err != nil {
			// An id without an event is a place to go on from, too.
			if id := s.decoder.LastEventID(); id != "" {
				s.reader.after = fairlead.Cursor(id)
			}
			if errors.Is(err, io.EOF) && s.captured {
				return Item{Kind: KindEnd}, nil
			}
			return Item{}, err
		}
		item, known := s.item(e)
		if known {
			return item, nil
		}
	}
}

// item turns an event into an item; events for the connection are not known.
func (s *sseSession) item(e sse.Event) (Item, bool) {
	cursor := fairlead.Cursor(s.decoder.LastEventID())
	item := Item{Cursor: cursor}
	switch e.Type {
	case fairlead.TypeGap:
		item = decodeGap(e.Data)
		item.Cursor = cursor
	case fairlead.TypeEnd:
		item.Kind = KindEnd
	case fairlead.TypeFault:
		item.Kind, item.Fault = KindFault, decodeFault(e.Data)
	case fairlead.TypeDraining, fairlead.TypePing:
		s.reader.after = cursor
		return Item{}, false
	default:
		item.Event = fairlead.Event{Cursor: cursor, Type: e.Type, Data: e.Data}
	}
	return item, true
}

func (s *sseSession) close() {
	s.watch.stop()
	s.body.Close()
}

// A control event that cannot be read still says what its type says.
func decodeGap(data []byte) Item {
	var g wire.Gap
	_ = json.Unmarshal(data, &g)
	return gapItem(&g)
}

func decodeFault(data []byte) *fairlead.Error {
	f := wire.Fault{Message: "the source of the stream broke"}
	_ = json.Unmarshal(data, &f)
	return f.Err()
}

// maxProblem bounds how much of an error's body is read, in bytes.
const maxProblem = 64 << 10

// responseError makes an error of an answer that is not a success: the
// server's own code and words when it sent them (RFC 9457).
func responseError(resp *http.Response) *fairlead.Error {
	e := fairlead.Errorf(codeOf(resp.StatusCode), "the server answers %s", resp.Status)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // the status says enough
	var problem struct {
		Code   fairlead.Code `json:"code"`
		Detail string        `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		e.Message = resp.Status + ": " + problem.Detail
		if problem.Code.HTTPStatus() == resp.StatusCode {
			e.Code = problem.Code
		}
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// codeOf chooses a code for a status that came without one.
func codeOf(status int) fairlead.Code {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return fairlead.Unavailable
	case http.StatusConflict:
		return fairlead.Conflict
	case http.StatusServiceUnavailable:
		return fairlead.Overloaded
	case http.StatusBadGateway:
		return fairlead.Unavailable
	}
	for _, c := range fairlead.Codes() {
		if c.HTTPStatus() == status {
			return c
		}
	}
	if status >= http.StatusInternalServerError {
		return fairlead.Internal
	}
	return fairlead.InvalidArgument
}
