package capture

import (
	"context"
	"fmt"
	"net/http"
)

// direct makes a call that ends when its caller leaves, and that nobody else
// can find before its response is recorded: on the caller's own goroutine, and
// without a name until then. Most calls are such, and of most the response is
// not recorded.
func (t *transport) direct(req, out *http.Request, s *stream) (*http.Response, error) {
	if !t.store.begin(s) {
		s.cancel(nil)
		return t.next.RoundTrip(out.WithContext(req.Context()))
	}
	recorded := false
	defer func() {
		if !recorded {
			t.store.over(s)
		}
	}()
	client := req.Context()
	stop := context.AfterFunc(client, func() { s.cancel(context.Cause(client)) })
	resp, err := t.next.RoundTrip(out)
	var f form
	if err == nil {
		f = formOf(t.cfg.Record, resp)
	}
	switch {
	case client.Err() != nil, s.ctx.Err() != nil, f != notRecorded && !stop():
		stop()
		if err == nil {
			_ = resp.Body.Close()
		}
		err = context.Cause(s.ctx)
		if client.Err() != nil {
			err = context.Cause(client)
		}
		s.cancel(nil)
		return nil, fmt.Errorf("capture: await the upstream: %w", err)
	case err != nil:
		stop()
		s.cancel(nil)
		return nil, err
	case f == notRecorded:
		return s.tied(req, resp, stop), nil
	}
	s.name(req)
	s.open(f, resp.StatusCode, resp.Header, resp.Trailer)
	recorded = true
	go func() {
		defer t.store.over(s)
		s.finish(s.drain(resp))
	}()
	return s.response(req, 0)
}
