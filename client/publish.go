package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// publishTries bounds how often Publish sends one event.
const publishTries = 5

// Publish appends one event to the topic at url and returns its cursor, once
// it is stored. Of the event, Type, Key, ContentType, Traceparent, Critical
// and Data are sent. After a broken connection or an answer that asks for
// patience it tries again, at most five times in all, under one
// Idempotency-Key, so that the event is stored once. Data of a content type
// that the server takes for a batch is one; the cursor is its last event's. The
// error is an *[fairlead.Error], ctx's cause, or the last connection's.
func Publish(ctx context.Context, url string, e fairlead.Event, cfg Config) (fairlead.Cursor, error) {
	cfg = cfg.withDefaults()
	u, err := parseURL(url)
	if err != nil {
		return "", err
	}
	header, err := publishHeader(&e, &cfg)
	if err != nil {
		return "", err
	}
	b := backoff{low: cfg.MinBackoff, high: cfg.MaxBackoff}
	for try := 1; ; try++ {
		cursor, err := publish(ctx, u.String(), header, e.Data, &cfg)
		switch {
		case err == nil:
			return cursor, nil
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case final(err) || try == publishTries:
			return "", err
		}
		hint := time.Duration(0)
		if answer, ok := asError(err); ok {
			hint = answer.RetryAfter
		}
		delay := b.delay(hint)
		if cfg.OnRetry != nil {
			cfg.OnRetry(err, delay)
		}
		if !sleep(ctx, delay) {
			return "", context.Cause(ctx)
		}
	}
}

// publishHeader returns the header of every try.
func publishHeader(e *fairlead.Event, cfg *Config) (http.Header, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	header := cfg.header()
	for name, value := range map[string]string{
		"Fairlead-Type": e.Type, "Fairlead-Key": e.Key, "Content-Type": e.ContentType, "Traceparent": e.Traceparent,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if e.Critical {
		header.Set("Fairlead-Critical", "?1")
	}
	if header.Get("Idempotency-Key") == "" {
		header.Set("Idempotency-Key", rand.Text())
	}
	return header, checkHeader(header)
}

// publish tries once.
func publish(ctx context.Context, url string, header http.Header, data []byte, cfg *Config) (fairlead.Cursor, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.IdleTimeout, fmt.Errorf("%w for %s", errSilent, cfg.IdleTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return "", fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	req.Header = header.Clone()
	resp, err := cfg.HTTP.Do(req)
	if err != nil {
		return "", causeOf(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusMultipleChoices:
		return "", responseError(resp)
	case resp.StatusCode != http.StatusCreated:
		return "", notATopic(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return "", causeOf(ctx, err)
	}
	var stored struct {
		Cursor  fairlead.Cursor   `json:"cursor"`
		Cursors []fairlead.Cursor `json:"cursors"`
	}
	err = json.Unmarshal(body, &stored)
	if n := len(stored.Cursors); n > 0 {
		stored.Cursor = stored.Cursors[n-1]
	}
	if err != nil || stored.Cursor == "" {
		return "", notATopic(resp)
	}
	return stored.Cursor, nil
}

func notATopic(resp *http.Response) *fairlead.Error {
	return fairlead.Errorf(fairlead.NotAcceptable, "the server answers %s, but not with a cursor as a topic does; is the URL one?", resp.Status)
}
