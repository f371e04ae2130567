package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

// maxLine bounds a line of standard input, in bytes; servers refuse larger
// events by default.
const maxLine = 1 << 20

// pubCmd publishes to a topic.
type pubCmd struct {
	URL  string  `arg:"" help:"The topic's URL, such as http://127.0.0.1:8080/topics/news."`
	Data *string `arg:"" help:"The event's data. Without it, each line of standard input is an event." optional:""`

	Type        string `help:"The event's type."`
	Key         string `help:"The event's key, for latest-per-key and snapshots."`
	ContentType string `default:"text/plain; charset=utf-8" help:"The data's media type."`
	Critical    bool   `help:"No delivery policy may drop the event."`
	Token       string `env:"FAIRLEAD_PUBLISH_TOKEN"        help:"The server's publish_token."`
}

// Run publishes, and prints the cursor of each event.
func (c *pubCmd) Run(ctx context.Context) error {
	if c.Data != nil {
		return c.publish(ctx, []byte(*c.Data))
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := c.publish(ctx, lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("pub: a line is longer than %d bytes; split it, or publish it as DATA", maxLine)
	} else if err != nil {
		return fmt.Errorf("pub: standard input: %w", err)
	}
	return nil
}

func (c *pubCmd) publish(ctx context.Context, data []byte) error {
	event := fairlead.Event{Type: c.Type, Key: c.Key, ContentType: c.ContentType, Critical: c.Critical, Data: data}
	cursor, err := client.Publish(ctx, c.URL, event, client.Config{Token: c.Token, OnRetry: sayRetry})
	if err != nil {
		return fmt.Errorf("pub: %w", err)
	}
	_, err = io.WriteString(os.Stdout, string(cursor)+"\n")
	return err
}
