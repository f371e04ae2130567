package capture

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// transport is the round tripper of one route.
type transport struct {
	store *Store
	cfg   *Config
	next  http.RoundTripper
}

// RoundTrip answers from the store, or calls the upstream and captures. The
// caller must close the response's body.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.cfg.Record == Off || never(req) {
		return t.next.RoundTrip(req)
	}
	leave := t.cfg.OnDisconnect
	if leave == Default {
		leave = Cancel
		if safeForEvents(req) || req.Header.Get("Idempotency-Key") != "" {
			leave = defaultLinger
		}
	}
	// The stream outlives the request and must not keep what its context holds.
	ctx, cancel := context.WithCancelCause(context.Background())
	out := req.WithContext(detached{ctx, req.Context()})
	out.Header = maps.Clone(req.Header)
	out.Header["Accept-Encoding"] = []string{"identity"}
	if leave == Cancel && t.cfg.CommitAfter <= 0 && len(req.Header["Idempotency-Key"]) == 0 && len(req.Header["Last-Event-Id"]) == 0 {
		return t.direct(req, out, ctx, cancel)
	}

	s := t.store.newStream(t.cfg, leave)
	s.ctx, s.cancel = ctx, cancel
	s.name(req)
	resp, err := t.fromStore(req, out, s)
	if resp != nil || err != nil {
		cancel(nil)
		closeBody(req)
		return resp, err
	}
	commit := t.commitTimer(req, s)
	body := s.request
	s.request = nil
	if !t.store.begin(s) {
		s.pass(nil, nil)
		cancel(nil)
		return t.next.RoundTrip(out.WithContext(req.Context()))
	}
	go func() {
		defer t.store.over(s)
		s.call(t.next, out, body)
	}()
	return s.await(req, commit)
}

// fromStore answers a request without the upstream, if it attaches to an
// earlier call or reconnects; nil: it goes upstream, as out.
func (t *transport) fromStore(req, out *http.Request, s *stream) (*http.Response, error) {
	if err := t.keepBody(req, out, s); err != nil {
		return nil, fmt.Errorf("capture: request body: %w", err)
	}
	key := req.Header.Get("Idempotency-Key")
	if key != "" && s.bodyKept {
		s.key, s.body = hashKey(s.owner, key, req), sha256.Sum256(s.request.content())
	}
	resp, known, err := t.elsewhere(req, out, s)
	if resp != nil || err != nil {
		return resp, err
	}
	if key != "" && s.bodyKept {
		s.keyed = true
		switch earlier, err := t.store.claimKey(s); {
		case err != nil:
			return refusal(req, err), nil
		case earlier != nil:
			s.keyed = false
			if resp, err := earlier.attach(req); resp != nil || err != nil {
				return resp, err
			}
			return nil, nil // what the earlier call got was not to be recorded
		}
	}
	if known {
		return nil, nil
	}
	resp, err = t.reconnect(req, out, s)
	if s.keyed && (resp != nil || err != nil) {
		s.pass(nil, nil) // whoever waits for this call makes one of its own
	}
	return resp, err
}

// detached is a context with the values of another.
type detached struct {
	context.Context
	values context.Context
}

// Value returns the context's own value first, so that contexts made from it
// find what cancels it.
func (d detached) Value(key any) any {
	if v := d.Context.Value(key); v != nil {
		return v
	}
	return d.values.Value(key)
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// call makes the upstream call and records its response. It is the body of the
// stream's goroutine.
func (s *stream) call(next http.RoundTripper, out *http.Request, body *keptBody) {
	resp, err := next.RoundTrip(out)
	body.forget()
	f := notRecorded
	if err == nil {
		f = formOf(s.cfg.Record, resp)
	}
	switch {
	case !s.claim():
		<-s.ready // the response was begun before the upstream's: see Config.CommitAfter
		if f != asEvents || resp.StatusCode != http.StatusOK {
			s.failCommitted(resp)
			return
		}
	case f == notRecorded:
		s.pass(resp, err)
		return
	default:
		s.open(f, resp.StatusCode, resp.Header, resp.Trailer)
	}
	s.finish(s.drain(resp))
}

// claim reports whether the caller is the first to begin the response, and
// must then do so.
func (s *stream) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.claimed
	s.claimed = true
	return first
}

// open begins a response that is recorded.
func (s *stream) open(f form, status int, header, trailer http.Header) {
	s.openLog()
	s.form, s.status, s.header = f, status, captured(header, s.id)
	if len(trailer) > 0 {
		s.trailer = make(http.Header, len(trailer))
		for name := range trailer {
			s.trailer[name] = nil
		}
	}
	s.store.register(s)
	s.charge(0)
	s.mu.Lock()
	s.phase = live
	s.mu.Unlock()
	s.store.count.captured.Add(1)
	close(s.ready)
	if why := s.stopped(); why != nil {
		s.finish(why)
	}
}

// stopped returns why the call was stopped, if it was.
func (s *stream) stopped() *fairlead.Error {
	why, _ := errors.AsType[*fairlead.Error](context.Cause(s.ctx))
	return why
}

// pass hands a response that is not recorded, or an error, to the caller.
func (s *stream) pass(resp *http.Response, err error) {
	s.store.forgetKey(s)
	if why := s.stopped(); why != nil && err != nil {
		err = fmt.Errorf("capture: %w", why)
	}
	s.mu.Lock()
	s.phase, s.failure = passed, err
	if s.caller {
		s.plain, resp = resp, nil
	}
	s.mu.Unlock()
	close(s.ready)
	if resp != nil {
		_ = resp.Body.Close()
	}
	if err != nil || resp != nil {
		s.cancel(nil)
	}
}

// failCommitted ends a response that was begun before the upstream's, which
// is none to be recorded; nil: an error.
func (s *stream) failCommitted(resp *http.Response) {
	why := s.stopped()
	if resp != nil {
		_ = resp.Body.Close()
	}
	switch {
	case why != nil:
	case resp == nil:
		why = fairlead.Errorf(fairlead.Unavailable, "the upstream could not be reached")
	default:
		why = fairlead.Errorf(fairlead.Fault, "the upstream answered with status %d and no event stream", resp.StatusCode)
	}
	s.finish(why)
}

// await waits for the response on behalf of the request that made the call.
func (s *stream) await(req *http.Request, commit <-chan time.Time) (*http.Response, error) {
	for {
		select {
		case <-s.ready:
			return s.first(req)
		case <-commit:
			commit = nil
			s.commit()
		case <-req.Context().Done():
			return nil, s.abandon(context.Cause(req.Context()))
		case <-s.ctx.Done():
			select {
			case <-s.ready:
				return s.first(req)
			default:
				return nil, s.abandon(context.Cause(s.ctx))
			}
		}
	}
}

// first returns the response to the request that made the call.
func (s *stream) first(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.caller = false
	p, plain, failure := s.phase, s.plain, s.failure
	s.plain = nil
	s.mu.Unlock()
	switch {
	case p != passed:
		return s.response(req, 0)
	case failure != nil:
		return nil, failure
	}
	return s.tie(req, plain), nil
}

// abandon is the caller's leaving before there was a response.
func (s *stream) abandon(why error) error {
	s.mu.Lock()
	s.caller = false
	plain := s.plain
	s.plain = nil
	s.mu.Unlock()
	if plain != nil {
		_ = plain.Body.Close()
		s.cancel(nil)
	}
	s.exit()
	return fmt.Errorf("capture: await the upstream: %w", why)
}

// commit begins an event stream before the upstream has answered.
func (s *stream) commit() {
	if s.claim() {
		s.open(asEvents, http.StatusOK, http.Header{"Content-Type": {eventStream}}, nil)
	}
}

// commitTimer returns what fires when the response is to be begun; nil: never.
func (t *transport) commitTimer(req *http.Request, s *stream) <-chan time.Time {
	if t.cfg.CommitAfter > 0 && (acceptsEvents(req.Header) || asksForStream(s.request.content())) {
		return time.After(t.cfg.CommitAfter)
	}
	return nil
}

// tie ends the upstream call of a response that is not recorded with the
// client's request, as if nobody stood in between.
func (s *stream) tie(req *http.Request, resp *http.Response) *http.Response {
	body := &tied{cancel: s.cancel, unwatch: context.AfterFunc(req.Context(), func() { s.cancel(context.Cause(req.Context())) })}
	return body.of(req, resp)
}

// tied is the body of a response that is not recorded, and before that the
// call for it.
type tied struct {
	io.ReadCloser

	cancel  context.CancelCauseFunc // of the call
	unwatch func() bool             // the client's request
}

func (t *tied) of(req *http.Request, resp *http.Response) *http.Response {
	resp.Request = req
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp // its body is a connection, and to be written to
	}
	t.ReadCloser = resp.Body
	resp.Body = t
	return resp
}

// stop cuts the upstream call off.
func (t *tied) stop(why *fairlead.Error) { t.cancel(why) }

// Close ends the upstream call.
func (t *tied) Close() error {
	err := t.ReadCloser.Close()
	t.end()
	return err
}

func (t *tied) end() {
	t.unwatch()
	t.cancel(nil)
}
