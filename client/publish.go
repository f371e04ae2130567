package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/fairlead-edge/fairlead"
)

// publishTries bounds how often Publish sends one event.
const publishTries = 5

// Publish appends one event to the topic at url and returns its cursor, once
// it is stored. Of the event, Type, Key, ContentType, Traceparent, Critical
// and Data are sent. After a broken connection or an answer that asks for
// patience it tries again, at most five times in all, under one
// Idempotency-Key, so that the event is stored once. The error is an
// *[fairlead.Error] made from the server's answer, or the connection's.
func Publish(ctx context.Context, url string, e fairlead.Event, cfg Config) (fairlead.Cursor, error) {
	cfg = cfg.withDefaults()
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
	b := backoff{low: cfg.MinBackoff, high: cfg.MaxBackoff}
	for try := 1; ; try++ {
		cursor, err := publish(ctx, url, e.Data, header, cfg.HTTP)
		if err == nil || ctx.Err() != nil || final(err) || try == publishTries {
			return cursor, err
		}
		delay := b.delay()
		if answer, ok := errors.AsType[*fairlead.Error](err); ok {
			delay = max(delay, answer.RetryAfter)
		}
		if cfg.OnRetry != nil {
			cfg.OnRetry(err, delay)
		}
		if !sleep(ctx, delay) {
			return "", context.Cause(ctx)
		}
	}
}

func publish(ctx context.Context, url string, data []byte, header http.Header, client *http.Client) (fairlead.Cursor, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return "", fairlead.Errorf(fairlead.InvalidArgument, "%v", err)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return "", responseError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return "", err
	}
	var stored struct {
		Cursor fairlead.Cursor `json:"cursor"`
	}
	if err := json.Unmarshal(body, &stored); err != nil || stored.Cursor == "" {
		return "", fairlead.Errorf(fairlead.NotAcceptable, "the server stored something but does not answer like a topic; is the URL one?")
	}
	return stored.Cursor, nil
}
