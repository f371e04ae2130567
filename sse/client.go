package sse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// ClientConfig tunes a Client. The zero value of each field is its default; a
// negative duration is too.
type ClientConfig struct {
	// HTTP sends the requests. Its Timeout must be zero: it would cut every
	// stream. Nil: http.DefaultClient.
	HTTP *http.Client
	// Header is added to each request.
	Header http.Header
	// LastEventID is the id to start after. Empty: where the server starts.
	LastEventID string
	// Retry is the first wait before a reconnect, until the server names
	// one. Zero: 1 second.
	Retry time.Duration
	// MaxRetry is the longest wait that back-off grows to. A longer one that
	// the server asks for is kept, up to an hour, plus up to half of it as
	// spread. Zero: 30 seconds.
	MaxRetry time.Duration
	// StableAfter is how long a connection must have lived for the back-off
	// to begin anew; being accepted is not enough. Zero: 5 seconds.
	StableAfter time.Duration
	// IdleTimeout is how long nothing at all may arrive, comments counted,
	// before the connection is taken for dead. Zero: 45 seconds.
	IdleTimeout time.Duration
	// MaxEvent is the largest event, in bytes. Zero: DefaultMax.
	MaxEvent int
	// OnRetry, when set, is told why a connection ended and how long the
	// client waits until the next. It must not block.
	OnRetry func(err error, wait time.Duration)
}

// ErrIdle means that nothing arrived for ClientConfig.IdleTimeout.
var ErrIdle = errors.New("sse: nothing arrived within the idle timeout")

// ResponseError is an answer that is no stream.
type ResponseError struct {
	Status      int    // the status code
	ContentType string // as the server sent it
	// RetryAfter is how long to stay away, of a 429 or 503 that says so.
	RetryAfter time.Duration
}

// Error says what was answered in place of a stream.
func (e *ResponseError) Error() string {
	if e.Status == http.StatusOK {
		return fmt.Sprintf("sse: connect: content type is %q, not %s", e.ContentType, ContentType)
	}
	return fmt.Sprintf("sse: connect: status %d %s", e.Status, http.StatusText(e.Status))
}

// Client reads a URL's events and, like a browser's EventSource (WHATWG HTML
// §9.2.3), reconnects where it was. Unlike it, it backs off, notices a dead
// connection, and returns to a server that said when. It starts no goroutine
// and is not safe for concurrent use.
type Client struct {
	url      string
	cfg      ClientConfig
	lastID   string
	retry    time.Duration
	failures int // connections in a row that did not become stable
}

// NewClient returns a Client of url. Nothing is sent before Events is ranged
// over.
func NewClient(url string, cfg ClientConfig) *Client {
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultClient
	}
	setDefault(&cfg.Retry, time.Second)
	setDefault(&cfg.MaxRetry, 30*time.Second)
	setDefault(&cfg.StableAfter, 5*time.Second)
	setDefault(&cfg.IdleTimeout, 45*time.Second)
	return &Client{url: url, cfg: cfg, lastID: cfg.LastEventID, retry: cfg.Retry}
}

func setDefault(field *time.Duration, value time.Duration) {
	if *field <= 0 {
		*field = value
	}
}

// LastEventID returns the id after which a reconnect continues.
func (c *Client) LastEventID() string { return c.lastID }

// Events connects and yields the events as they arrive, over as many
// connections as it takes. It ends without an error when the server answers
// 204, the way a stream is over for good. Otherwise it ends by yielding one
// error: ctx's, a *ResponseError for an answer that is no stream, or
// ErrTooLarge. Whatever may pass, it retries for as long as ctx lives: failed
// connections, ended streams, and a 429 or 503 with Retry-After.
//
// Leaving the loop closes the connection; ranging again continues after the
// last event. While the loop's body runs, nothing is read, so that a slow
// consumer slows the server, and is not taken for a dead connection.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			end := c.connect(ctx, yield)
			switch {
			case end.left:
				return
			case ctx.Err() != nil:
				yield(Event{}, fmt.Errorf("sse: events: %w", context.Cause(ctx)))
				return
			case end.final:
				if end.err != nil {
					yield(Event{}, end.err)
				}
				return
			}
			wait := c.wait(end)
			if c.cfg.OnRetry != nil {
				c.cfg.OnRetry(end.err, wait)
			}
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
}

// ending is how and why a connection ended.
type ending struct {
	err    error
	left   bool // the consumer left the loop
	final  bool // not to be retried
	stable bool // it had lived for StableAfter
}

// connect makes one connection and yields its events until it ends.
func (c *Client) connect(ctx context.Context, yield func(Event, error) bool) ending {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := &watchdog{timeout: c.cfg.IdleTimeout}
	watch.timer = time.AfterFunc(watch.timeout, func() { cancel(ErrIdle) })
	defer watch.timer.Stop()

	req, err := c.request(ctx)
	if err != nil {
		return ending{err: err, final: true}
	}
	resp, err := c.cfg.HTTP.Do(req)
	watch.timer.Stop()
	if err != nil {
		return ending{err: causeOf(ctx, fmt.Errorf("sse: connect: %w", err))}
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return ending{final: true}
	}
	if err := checkResponse(resp); err != nil {
		return ending{err: err, final: err.RetryAfter == 0}
	}
	watch.body = resp.Body
	return c.read(ctx, NewDecoder(watch), yield)
}

func (c *Client) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("sse: connect: %w", err)
	}
	maps.Copy(req.Header, c.cfg.Header)
	req.Header.Set("Accept", ContentType)
	req.Header.Set("Cache-Control", "no-cache")
	if c.lastID != "" {
		for _, b := range []byte(c.lastID) {
			if b < ' ' && b != '\t' || b == 0x7f {
				return nil, fmt.Errorf("sse: connect: last event id %.40q cannot be sent in a header", c.lastID)
			}
		}
		req.Header.Set("Last-Event-ID", c.lastID)
	}
	return req, nil
}

// read yields the events of one connection.
func (c *Client) read(ctx context.Context, d *Decoder, yield func(Event, error) bool) ending {
	began := time.Now()
	d.Max = c.cfg.MaxEvent
	d.Resume(c.lastID)
	for {
		e, err := d.Next()
		c.lastID = d.LastEventID()
		if retry, ok := d.Retry(); ok {
			c.retry = retry
		}
		if err != nil {
			return ending{
				err:    causeOf(ctx, err),
				final:  errors.Is(err, ErrTooLarge),
				stable: time.Since(began) >= c.cfg.StableAfter,
			}
		}
		if !yield(e, nil) {
			return ending{left: true}
		}
	}
}

// causeOf prefers the reason why ctx was cancelled to the error it led to.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Bounds of what a server can ask a client to wait: below the first it would
// be hammered, beyond the second it might as well be gone.
const (
	minRetry  = 100 * time.Millisecond
	mostRetry = time.Hour
)

// wait returns how long to wait before the next connection: the reconnection
// time, up to half as much again at random, so that the readers of a server
// that went away don't return at once; twice that after each connection that
// did not become stable.
func (c *Client) wait(end ending) time.Duration {
	if end.stable {
		c.failures = 0
	}
	base := min(max(c.retry, minRetry), mostRetry)
	most := base + base/2
	ceiling := max(most, c.cfg.MaxRetry)
	for range c.failures {
		most = min(2*most, ceiling)
	}
	c.failures = min(c.failures+1, 30) // beyond that it is at the ceiling anyway
	least := max(base, most/2)
	wait := least + rand.N(most-least+1)

	if resp, ok := errors.AsType[*ResponseError](end.err); ok {
		wait = max(wait, min(resp.RetryAfter, mostRetry))
	}
	return wait
}

// checkResponse returns nil for a stream.
func checkResponse(resp *http.Response) *ResponseError {
	contentType := resp.Header.Get("Content-Type")
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if resp.StatusCode == http.StatusOK && mediaType == ContentType {
		return nil
	}
	err := &ResponseError{Status: resp.StatusCode, ContentType: contentType}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		err.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	}
	return err
}

// retryAfter reads the field of RFC 9110 §10.2.3, seconds or a date; 0: absent
// or neither. A moment that has passed is the shortest wait.
func retryAfter(v string) time.Duration {
	if seconds, err := strconv.ParseUint(v, 10, 32); err == nil {
		return max(time.Duration(seconds)*time.Second, minRetry)
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), minRetry)
	}
	return 0
}
