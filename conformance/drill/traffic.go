package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The traffic of a healthy site.
const (
	callers    = 4                     // who ask the upstream, each
	each       = 10 * time.Millisecond // so often
	readers    = 4                     // of a topic
	streams    = 2                     // of the upstream, read through Fairlead
	interval   = 20 * time.Millisecond // between two publishes
	publishers = 4                     // who take turns
	quiet      = "drill/ticks"         // the topic
)

// traffic begins, and returns once the topic is there.
func (s *site) traffic(ctx context.Context) error {
	if err := s.publish(ctx, quiet, "tick"); err != nil {
		return err
	}
	to := s.http
	if s.hop != nil && s.hop.bunches {
		to = s.hop.url
	}
	for range publishers {
		s.repeat(ctx, publishers*interval, func() error { return s.publishAt(ctx, to, quiet, "tick") })
	}
	for i := range callers {
		method := http.MethodGet
		if i == 0 {
			method = http.MethodPost
		}
		s.repeat(ctx, each, func() error { return s.call(ctx, method, "/things") })
	}
	for range readers {
		s.read(ctx, "/topics/"+quiet)
	}
	for range streams {
		s.read(ctx, "/stream")
	}
	return nil
}

// repeat does something again and again until ctx ends.
func (s *site) repeat(ctx context.Context, every time.Duration, do func() error) {
	s.work.Go(func() {
		for pause(ctx, every) == nil {
			if err := do(); err != nil && ctx.Err() == nil {
				s.wrong(err)
			}
		}
	})
}

// publish publishes an event that says when it happened.
func (s *site) publish(ctx context.Context, topic, data string) error {
	return s.publishAt(ctx, s.http, topic, data)
}

func (s *site) publishAt(ctx context.Context, base, topic, data string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/topics/"+topic, strings.NewReader(data))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "text/plain", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/drill",
		"Ce-Type": "tick", "Ce-Time": time.Now().UTC().Format(time.RFC3339Nano),
	} {
		req.Header.Set(name, value)
	}
	return s.do(req, http.StatusCreated)
}

// giveUp is when a caller leaves who has no answer, to ask again.
const giveUp = 2 * time.Second

// call asks the upstream.
func (s *site) call(ctx context.Context, method, path string) error {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.http+path, nil)
	if err != nil {
		return err
	}
	return s.do(req, http.StatusOK)
}

func (s *site) do(req *http.Request, want int) error {
	res, err := s.clients.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, res.Status)
	}
	return nil
}

// read reads an event stream as fast as it comes, until ctx ends; one that breaks
// off it asks for again.
func (s *site) read(ctx context.Context, path string) {
	s.repeat(ctx, pace, func() error { return s.readOnce(ctx, s.clients, s.http+path, 0) })
}

// readOnce reads an event stream until it ends, or so many lines of it unless that
// is 0.
func (s *site) readOnce(ctx context.Context, over http.RoundTripper, url string, lines int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := over.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	in := bufio.NewScanner(res.Body)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		if n == lines {
			return nil
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return errors.New("the stream has ended")
}
