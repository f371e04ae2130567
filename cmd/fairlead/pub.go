package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

// maxLine bounds a line of standard input, in bytes; servers refuse larger
// events by default.
const maxLine = 1 << 20

type pubCommand struct {
	URL         string  `arg:"" help:"The topic, such as http://127.0.0.1:8080/topics/news."`
	Data        *string `arg:"" optional:"" help:"The event's data; without it each line of standard input is an event."`
	Type        string  `placeholder:"TYPE" help:"The event's type."`
	Key         string  `placeholder:"KEY" help:"The event's key, for latest-per-key and snapshots."`
	ContentType string  `placeholder:"TYPE" default:"text/plain; charset=utf-8" help:"The data's media type; default ${default}."`
	Critical    bool    `help:"No delivery policy may drop the event."`
	Token       string  `placeholder:"TOKEN" env:"FAIRLEAD_PUBLISH_TOKEN" help:"The server's publish_token."`
}

// Help is shown by pub --help.
func (*pubCommand) Help() string {
	return `The cursor of each event is printed once it is stored. After a broken connection
pub tries again, up to five times, and the event is stored once.`
}

// Validate reports wrong usage.
func (c *pubCommand) Validate() error { return checkURL(c.URL) }

// checkURL reports what a client could never connect to.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if s == "" {
		return nil // that it is missing is said elsewhere
	}
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) {
		return fmt.Errorf("%q is not a URL to connect to: begin it with http:// or https:// and a host", s)
	}
	return nil
}

// Run publishes, and prints the cursor of each event.
func (c *pubCommand) Run(ctx context.Context, t terminal) error {
	if c.Data != nil {
		return c.publish(ctx, t, []byte(*c.Data))
	}
	return eachLine(ctx, t.in, func(line []byte) error { return c.publish(ctx, t, line) })
}

func (c *pubCommand) publish(ctx context.Context, t terminal, data []byte) error {
	event := fairlead.Event{Type: c.Type, Key: c.Key, ContentType: c.ContentType, Critical: c.Critical, Data: data}
	cursor, err := client.Publish(ctx, c.URL, event, client.Config{Token: c.Token, OnRetry: t.sayRetry})
	if err != nil {
		return fmt.Errorf("pub: %w", err)
	}
	return t.print([]byte(cursor))
}

// eachLine calls f with each line of in until ctx ends. The goroutine that reads
// ends with the program at the latest: a terminal's read cannot be interrupted.
func eachLine(ctx context.Context, in io.Reader, f func(line []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines, end := make(chan []byte), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxLine+2) // and its end
		for scanner.Scan() {
			select {
			case lines <- slices.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		end <- scanner.Err()
	}()
	for {
		select {
		case line := <-lines:
			if err := f(line); err != nil {
				return err
			}
		case err := <-end:
			switch {
			case errors.Is(err, bufio.ErrTooLong):
				return fmt.Errorf("pub: a line is longer than %d bytes; split it, or publish it as DATA", maxLine)
			case err != nil:
				return fmt.Errorf("pub: standard input: %w", err)
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("pub: %w", context.Cause(ctx))
		}
	}
}

// print writes a line to standard output, in one write.
func (t terminal) print(line []byte) error {
	if _, err := t.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// sayRetry tells a user who waits why.
func (t terminal) sayRetry(err error, delay time.Duration) {
	fmt.Fprintf(t.err, "fairlead: %v; trying again in %s\n", err, delay.Round(time.Millisecond))
}
