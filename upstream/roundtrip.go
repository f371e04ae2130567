package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// request is one request and its attempts.
type request struct {
	p        *Pool
	in       *http.Request
	body     *replay
	deadline time.Time // for a connection
	waited   time.Duration
	sent     int
	barred   []*member // gave no connection
	tried    []*member // gave no response: another is better
	errs     []error
	tell     func(*Attempt) func(status int, err error) // nil: nobody
}

// RoundTrip sends req to one of the endpoints, and again to another where
// [Retry] allows. Scheme and host of req.URL are replaced by the endpoint's,
// whose base path is put before the path; req.Host is sent if it is set, else
// the endpoint's. An error that wraps a [fairlead.Error] says with its code
// how to answer: Overloaded when no connection came free in time, with
// RetryAfter.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	now := time.Now()
	p.counts.requests.Add(1)
	p.budget.request()
	r := request{
		p: p, in: req, body: newReplay(req, p.cfg.Retry.Body),
		deadline: now.Add(p.cfg.Queue.Timeout),
	}
	if p.cfg.Attempts != nil {
		r.tell = p.cfg.Attempts(req.Context())
	}
	res, err := r.run(now)
	r.body.settle()
	if err != nil {
		p.counts.failed.Add(1)
	}
	return res, err
}

// run makes attempts until one gets a response or no further one may be made.
func (r *request) run(now time.Time) (*http.Response, error) {
	p, ctx := r.p, r.in.Context()
	if ctx.Err() != nil { // net/http's connections do not look before they send
		return nil, fmt.Errorf("upstream: %w", context.Cause(ctx))
	}
	for {
		m, left := p.pick(r, now)
		if m == nil {
			p.waits.observe(r.waited.Seconds())
			return nil, p.refusal(r.errs)
		}
		m.begin() // those who wait there count too
		t, err := m.acquire(ctx, r.in.Header.Get("Upgrade") != "", r.share(now, left))
		got, asked := time.Now(), now
		r.waited += got.Sub(now)
		now = got
		if err != nil {
			if done := r.attempted(nil, m, t, asked, got); done != nil {
				done(0, err)
			}
			m.load.end()
			r.errs = append(r.errs, &attemptError{m.key, err})
			if ctx.Err() != nil {
				return nil, failures(r.errs)
			}
			if u, ok := errors.AsType[*unavailable](err); ok && u.reason == takenOut && !slices.Contains(r.tried, m) {
				r.tried = append(r.tried, m)
			} else {
				r.barred = append(r.barred, m)
			}
			continue
		}
		res, class, err := r.send(m, t, asked, now)
		if err == nil {
			return res, nil
		}
		r.errs = append(r.errs, &attemptError{m.key, err})
		now = time.Now()
		if !r.mayRepeat(class, now) {
			if errors.Is(err, errNoStream) {
				return nil, p.refusal(r.errs)
			}
			return nil, failures(r.errs)
		}
		r.tried = append(r.tried, m)
		r.deadline = now.Add(p.cfg.Queue.Timeout)
		p.counts.retried(class)
		if seldom(&p.lastRetried, now) {
			p.events.add(Event{Kind: "retried", Endpoint: m.key, Conn: t.c.id, Reason: string(class), Why: plainText(err)})
		}
	}
}

// fewOthers is with how many other endpoints the time to wait is shared.
const fewOthers = 2

// share is how long to wait at one endpoint when others are left to ask.
func (r *request) share(now time.Time, left int) time.Duration {
	return max(time.Millisecond, r.deadline.Sub(now)/time.Duration(min(left, fewOthers)+1))
}

// mayRepeat reports whether the request may be sent again.
func (r *request) mayRepeat(class retryClass, now time.Time) bool {
	switch {
	case class == "" || r.sent >= r.p.cfg.Retry.Attempts || !r.body.again() || r.in.Context().Err() != nil:
		return false
	case !class.costs() || r.p.budget.take(now):
		return true
	}
	r.p.counts.refused("budget")
	return false
}

// errNoResponse is the cause of an attempt that Retry.ResponseTimeout ended.
var errNoResponse = fmt.Errorf("no response in time: %w", context.DeadlineExceeded)

// errNoStatus is the cause of an attempt whose response has no status that there could be
// (RFC 9110 §15), and that net/http's server would panic of.
var errNoStatus = errors.New("malformed status of the response")

// send makes one attempt on a leased connection.
func (r *request) send(m *member, t taken, asked, now time.Time) (*http.Response, retryClass, error) {
	p, c := r.p, t.c
	l := &lease{m: m, c: c, started: now}
	out := r.outgoing(l)
	done := r.attempted(out, m, t, asked, now)
	r.sent++
	m.requests.Add(1)
	if !c.spare {
		p.meter.begin(now)
	}
	p.counts.attempts.Add(1)
	if t.reused {
		p.counts.reused.Add(1)
	}
	p.waits.observe(r.waited.Seconds())
	if !c.http2 {
		c.socket.begin()
	}
	res, err := c.cc.RoundTrip(out)
	end := time.Now()
	if l.stop != nil && !l.stop() && r.in.Context().Err() == nil {
		if err == nil {
			_ = res.Body.Close() // what is read of it would break off
		}
		err = errNoResponse
	}
	if err == nil && (res.StatusCode < 100 || res.StatusCode > 999) { // three digits, which a sign may be one of
		_ = res.Body.Close()
		err = errNoStatus
	}
	if err != nil {
		if l.ctx != nil && r.in.Context().Err() == nil && errors.Is(context.Cause(l.ctx), errNoStream) {
			err = errNoStream
			m.stall(c)
		}
		if l.ctx != nil && errors.Is(err, context.Canceled) && errors.Is(context.Cause(l.ctx), errBroke) {
			err = errBroke
		}
		if done != nil {
			done(0, err)
		}
		return nil, r.failed(l, t.idle, err, end), err
	}
	if !t.reused || t.first {
		m.answered(c)
	}
	if done != nil {
		done(res.StatusCode, nil)
	}
	took := end.Sub(now)
	bad := badAnswer(res)
	m.observe(end, took, bad)
	if m.races.Load() > 0 {
		m.races.Store(0)
	}
	m.judge(end, bad)
	p.firstByte.observe(took.Seconds())
	res.Request = r.in
	l.answer(res)
	p.balance.stick(r.in, res, &m.load)
	if p.cfg.ServerTiming {
		res.Header.Add("Server-Timing", "pool;dur="+milliseconds(r.waited)+", upstream;dur="+milliseconds(took))
	}
	return res, "", nil
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
}

// outgoing returns the request as it is sent to the lease's endpoint.
func (r *request) outgoing(l *lease) *http.Request {
	ctx := r.in.Context()
	d := r.p.cfg.Retry.ResponseTimeout
	var let func()
	if d > 0 || l.c.http2 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		l.cancel = func() { cancel(nil) }
		if d > 0 {
			l.stop = time.AfterFunc(d, func() { cancel(errNoResponse) }).Stop
		}
		if l.c.http2 {
			ctx, l.stream = watchStream(ctx, max(time.Millisecond, time.Until(r.deadline)), cancel)
			let = func() { l.stream.leave(cancel) }
		}
		l.ctx = ctx
	}
	out := r.in.WithContext(ctx) // a copy: a RoundTripper must not change its request
	out.URL = l.m.endpoint.target(r.in.URL)
	out.GetBody = nil
	shorten(out)
	if r.body != nil {
		out.Body = r.body.attempt(let)
	}
	return out
}

// shorten tells the endpoint of a gRPC call how much of its time is left: some has
// gone by in the queue, and with attempts before. It is rounded up, so that who
// waits here is the first to give up.
func shorten(out *http.Request) {
	due, ok := out.Context().Deadline()
	if _, told := out.Header["Grpc-Timeout"]; !ok || !told {
		return
	}
	out.Header = out.Header.Clone()
	out.Header.Set("Grpc-Timeout", timeoutOf(time.Until(due)))
}

// timeoutOf returns the value of grpc-timeout, of at most eight digits, that is no
// less than what is left.
func timeoutOf(left time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Millisecond, "m"}, {time.Second, "S"}, {time.Minute, "M"}} {
		if n := int64(max(0, left)/u.unit) + 1; n < 1e8 {
			return strconv.FormatInt(n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(left/time.Hour)+1, 10) + "H" // a Duration has no more than seven digits of those
}

// A connection that the peer closed while it was idle tells so within a round
// trip, and is no fault of the endpoint; when that goes on for seconds without
// a response, it is the endpoint's way to fail.
const (
	promptly  = 100 * time.Millisecond
	manyRaces = 3
)

// lostRaces counts a race with the close of an idle connection, those of one
// second for one, and returns how many there were since the last response.
func (m *member) lostRaces(now time.Time) int32 {
	last := m.lastRace.Load()
	if now.UnixNano()-last < int64(time.Second) || !m.lastRace.CompareAndSwap(last, now.UnixNano()) {
		return m.races.Load()
	}
	return m.races.Add(1)
}

// failed ends an attempt that got no response, and says whether the request
// may be sent again.
func (r *request) failed(l *lease, idle time.Duration, err error, now time.Time) retryClass {
	m, c := l.m, l.c
	e := evidence{err: err, http2: c.http2, wrote: true}
	if c.http2 {
		e.read = l.stream.answered.Load()
	} else {
		e.wrote, e.read = c.socket.wrote(), c.socket.answered()
	}
	e.proven = r.p.cfg.Retry.KernelProof && !c.http2 && e.wrote && !e.read && r.in.Context().Err() == nil && c.socket.unread()
	class := classify(r.in, e)
	_, reset := errors.AsType[streamError](err)
	switch {
	case r.in.Context().Err() != nil:
		l.end(abandoned)
	case c.spare && m.endpoint.Scheme == "h2c", // it was only hoped to speak HTTP/1.1
		ownFault(err) || errors.Is(err, errNoStream) || class == retryRefused && reset:
		l.end(failed) // and nobody is to blame
	case class == retryRefused:
		l.end(away)
	case !c.http2 && idle > 0 && !e.read && !errors.Is(err, errNoResponse) && now.Sub(l.started) < promptly:
		m.stale(idle, now)
		if m.lostRaces(now) > manyRaces {
			m.blame(now, now.Sub(l.started))
		}
		l.end(raced)
	default:
		m.blame(now, now.Sub(l.started))
		l.end(failed)
	}
	return class
}

// blame notes that an attempt failed by the endpoint's fault. All that its end
// breaks is one outcome for the balancer.
func (m *member) blame(now time.Time, took time.Duration) {
	if seldom(&m.lastBreak, now) {
		m.observe(now, took, true)
	}
	m.judge(now, true)
}

// badAnswer reports whether a response tells of a fault of its endpoint.
func badAnswer(res *http.Response) bool {
	const grpcUnavailable = "14"
	return res.StatusCode >= 500 || slices.Contains(res.Header["Grpc-Status"], grpcUnavailable)
}
