package capture

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// direct makes a call that ends when its caller leaves, and that nobody else
// can find before its response is recorded: on the caller's own goroutine, and
// without a stream until then. Most calls are such, and of most the response is
// not recorded.
func (t *transport) direct(req, out *http.Request, ctx context.Context, cancel context.CancelCauseFunc) (*http.Response, error) { //nolint:revive // the context is out's
	client, began := req.Context(), time.Now()
	c := &tied{cancel: cancel, unwatch: context.AfterFunc(client, func() { cancel(context.Cause(client)) })}
	if !t.store.begin(c) {
		c.end()
		return t.next.RoundTrip(out.WithContext(client))
	}
	recorded := false
	defer func() {
		if !recorded {
			t.store.over(c)
		}
	}()
	resp, err := t.next.RoundTrip(out)
	var f form
	if err == nil {
		f = formOf(t.cfg.Record, resp)
	}
	switch {
	case client.Err() != nil, ctx.Err() != nil, f != notRecorded && !c.unwatch():
		if err == nil {
			_ = resp.Body.Close()
		}
		err = context.Cause(ctx)
		if client.Err() != nil {
			err = context.Cause(client)
		}
		c.end()
		return nil, fmt.Errorf("capture: await the upstream: %w", err)
	case err != nil:
		c.end()
		return nil, err
	case f == notRecorded:
		return c.of(req, resp), nil
	}
	s := t.store.newStream(t.cfg, Cancel)
	s.ctx, s.cancel, s.begun = ctx, cancel, began
	s.name(req)
	t.store.become(c, s)
	recorded = true
	s.open(f, resp.StatusCode, resp.Header, resp.Trailer)
	go func() {
		defer t.store.over(s)
		s.finish(s.drain(resp))
	}()
	return s.response(req, 0)
}
