package observe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// collector is the way to the collector. What that answers beside a status is its own
// and not kept, since it may repeat what it got.
type collector struct {
	http.Transport

	status int // of its last answer; of the exporting goroutine
}

const (
	// maxPartial is how much is read of an answer, in bytes; that to a batch that was
	// taken is empty or tiny.
	maxPartial = 4 << 10
	// maxTold bounds what is told of a failure, in bytes.
	maxTold = 256
)

// newCollector connects with that configuration; nil: the default.
func newCollector(secure *tls.Config) *collector {
	return &collector{Transport: http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			if res.StatusCode != http.StatusOK { // else its words would be the error
				return fmt.Errorf("the proxy answered %d", res.StatusCode)
			}
			return nil
		},
	}}
}

// RoundTrip asks, and cuts the answer.
func (c *collector) RoundTrip(r *http.Request) (*http.Response, error) {
	c.status = 0
	res, err := c.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	c.status = res.StatusCode
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPartial))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body, res.ContentLength = http.NoBody, 0
	if res.StatusCode/100 == 2 { // it may be that not all was taken
		res.Body = io.NopCloser(strings.NewReader(string(text)))
	}
	return res, nil
}

// client follows no redirect: headers with a token would go along.
func (c *collector) client() *http.Client {
	return &http.Client{
		Transport: c, Timeout: exportTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// why is what is told of a batch that was not handed over.
func (c *collector) why(err error) error {
	var text string
	switch {
	case c.status/100 == 2:
		text = fmt.Sprintf("the collector answered %d, but not that it took all of them", c.status)
	case c.status != 0:
		text = strings.TrimSpace(fmt.Sprintf("the collector answered %d %s", c.status, http.StatusText(c.status)))
	default:
		cause := err
		if u, ok := errors.AsType[*url.Error](err); ok {
			cause = u.Err
		}
		text, _, _ = strings.Cut(cause.Error(), `"`) // what comes then was sent by whoever is there
		text = strings.ToValidUTF8(text[:min(len(text), maxTold)], "")
	}
	return &exportError{text, err}
}

// exportError is err in words of our own.
type exportError struct {
	text string
	err  error
}

func (e *exportError) Error() string { return e.text }
func (e *exportError) Unwrap() error { return e.err }

// exporter tells of failures, seldom, and can be made to give up.
type exporter struct {
	to        sdk.SpanExporter
	collector *collector
	failed    func(error)
	ctx       context.Context //nolint:containedctx // of all exports
	cancel    context.CancelFunc
	count     *spanCount
	told      time.Time // of the exporting goroutine
	lost      int       // spans since then; of that goroutine
}

// ExportSpans hands a batch over. A failure is told here, and nobody else's news.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	e.collector.status = 0 // a batch that cannot be encoded is not sent
	err := e.to.ExportSpans(ctx, spans)
	if err == nil {
		e.count.exported.Add(uint64(len(spans)))
		return nil
	}
	e.count.failed.Add(uint64(len(spans)))
	e.lost += len(spans)
	if now := time.Now(); e.failed != nil && (e.told.IsZero() || now.Sub(e.told) >= time.Minute) {
		e.failed(fmt.Errorf("observe: tracing: export of %d spans: %w", e.lost, e.collector.why(err)))
		e.told, e.lost = now, 0
	}
	return nil
}

// Shutdown ends the exporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.to.Shutdown(ctx) }
