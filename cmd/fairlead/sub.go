package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

// subCmd reads a topic or any event stream.
type subCmd struct {
	URL string `arg:"" help:"The URL of a topic or of any event stream."`

	Transport string `default:"sse" enum:"sse,ws,poll" help:"How to read: ${enum}."`
	After     string `help:"Where to start: a cursor, earliest, latest or snapshot."`
	Token     string `env:"FAIRLEAD_TOKEN" help:"Sent as the bearer token."`
	JSON      bool   `help:"Print each item as a JSON object on a line, cursor included." name:"json"`
	Count     int    `help:"Stop after that many events; 0: never." short:"n"`
}

// Run prints the data of each event on a line, and reads on through broken
// connections until the stream ends or the program is interrupted.
func (c *subCmd) Run(ctx context.Context) error {
	out := bufio.NewWriter(os.Stdout)
	seen := 0
	for item, err := range client.Subscribe(ctx, c.URL, client.Config{
		Transport: client.Transport(c.Transport), After: fairlead.Cursor(c.After), Token: c.Token, OnRetry: sayRetry,
	}) {
		switch {
		case errors.Is(err, context.Canceled):
			return nil // interrupted
		case err != nil:
			return fmt.Errorf("sub: %w", err)
		}
		if err := c.print(out, item); err != nil {
			return fmt.Errorf("sub: standard output: %w", err)
		}
		if item.Kind == client.KindFault {
			return fmt.Errorf("sub: the stream broke: %w", item.Fault)
		}
		if item.Kind == client.KindEvent {
			seen++
		}
		if seen == c.Count && c.Count > 0 {
			return nil
		}
	}
	return nil
}

// line is an item as --json prints it.
type line struct {
	Cursor  fairlead.Cursor `json:"cursor,omitempty"`
	Topic   string          `json:"topic,omitempty"`
	Type    string          `json:"type,omitempty"`
	Key     string          `json:"key,omitempty"`
	Time    *time.Time      `json:"time,omitempty"`
	Skipped uint64          `json:"skipped,omitempty"`
	Data    *string         `json:"data,omitempty"`
	Gap     *gapLine        `json:"gap,omitempty"`
	End     bool            `json:"end,omitempty"`
	Fault   string          `json:"fault,omitempty"`
}

type gapLine struct {
	After    fairlead.Cursor `json:"after"`
	Earliest fairlead.Cursor `json:"earliest"`
	Skipped  *int64          `json:"skipped"`
}

func (c *subCmd) print(out *bufio.Writer, item client.Item) error {
	if c.JSON {
		b, err := json.Marshal(lineOf(item))
		if err != nil {
			return err
		}
		_, _ = out.Write(append(b, '\n')) // Flush has the error
		return out.Flush()
	}
	switch item.Kind {
	case client.KindEvent:
		_, _ = out.Write(item.Event.Data)
		_ = out.WriteByte('\n')
	case client.KindGap:
		missed := fmt.Sprint(item.Gap.Skipped)
		if item.Gap.Skipped < 0 {
			missed = "an unknown number of"
		}
		fmt.Fprintf(os.Stderr, "gap: %s events are no longer retained; going on with %s\n", missed, item.Gap.Earliest)
	case client.KindEnd, client.KindFault:
	}
	return out.Flush()
}

func lineOf(item client.Item) line {
	l := line{Cursor: item.Cursor, Skipped: item.Skipped}
	switch item.Kind {
	case client.KindEvent:
		e, data := item.Event, string(item.Event.Data)
		l.Topic, l.Type, l.Key, l.Data = e.Topic, e.Type, e.Key, &data
		if !e.Time.IsZero() {
			l.Time = &e.Time
		}
	case client.KindGap:
		l.Gap = &gapLine{After: item.Gap.After, Earliest: item.Gap.Earliest}
		if item.Gap.Skipped >= 0 {
			l.Gap.Skipped = &item.Gap.Skipped
		}
	case client.KindEnd:
		l.End = true
	case client.KindFault:
		l.Fault = item.Fault.Error()
	}
	return l
}

func sayRetry(err error, delay time.Duration) {
	fmt.Fprintf(os.Stderr, "%v; trying again in %s\n", err, delay.Round(time.Millisecond))
}
