package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

type subCommand struct {
	URL       string `arg:"" help:"A topic, or any event stream."`
	Transport string `default:"sse" enum:"sse,ws,grpc,poll" help:"How to read: ${enum}; default ${default}."`
	After     string `placeholder:"CURSOR" help:"Where to start: a cursor, earliest, latest or snapshot."`
	Token     string `placeholder:"TOKEN" env:"FAIRLEAD_TOKEN" help:"Sent as the bearer token."`
	JSON      bool   `name:"json" help:"Print each item as a JSON object on a line, with its cursor."`
	Count     int    `short:"n" placeholder:"N" help:"Stop after so many events; default 0, never."`
}

// Help is shown by sub --help.
func (*subCommand) Help() string {
	return `The data of each event is printed on a line. After a broken connection sub goes on
after the last event; what it missed because it is no longer retained is told on
standard error. It exits with 0 when the stream has ended, on SIGINT and SIGTERM,
and with 1 when the stream's source broke.`
}

// Validate reports wrong usage.
func (c *subCommand) Validate() error {
	if c.Count < 0 {
		return errors.New("--count: it must not be negative")
	}
	return checkURL(c.URL)
}

// Run prints what is read until the stream ends or the program is interrupted.
func (c *subCommand) Run(ctx context.Context, t terminal) error {
	seen := 0
	for item, err := range client.Subscribe(ctx, c.URL, client.Config{
		Transport: client.Transport(c.Transport), After: fairlead.Cursor(c.After), Token: c.Token, OnRetry: t.sayRetry,
	}) {
		if err != nil && ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted, as its user means it
		}
		if err != nil {
			return fmt.Errorf("sub: %w", err)
		}
		err = c.print(t, &item)
		switch {
		case errors.Is(err, syscall.EPIPE):
			return nil // who reads the output has had enough
		case err != nil:
			return fmt.Errorf("sub: %w", err)
		case item.Kind == client.KindFault:
			return fmt.Errorf("sub: the stream broke: %w", item.Fault)
		case item.Kind == client.KindEvent:
			seen++
		}
		if seen == c.Count && c.Count > 0 {
			return nil
		}
	}
	return nil
}

func (c *subCommand) print(t terminal, item *client.Item) error {
	switch {
	case c.JSON:
		b, err := json.Marshal(lineOf(item))
		if err != nil {
			return err
		}
		return t.print(b)
	case item.Kind == client.KindEvent:
		return t.print(item.Event.Data)
	case item.Kind == client.KindGap:
		missed := fmt.Sprint(item.Gap.Skipped)
		if item.Gap.Skipped < 0 {
			missed = "an unknown number of"
		}
		fmt.Fprintf(t.err, "fairlead: gap: %s events are no longer retained; going on with %s\n", missed, item.Gap.Earliest)
	}
	return nil
}

// line is an item as --json prints it.
type line struct {
	Cursor  fairlead.Cursor `json:"cursor,omitempty"`
	Topic   string          `json:"topic,omitempty"`
	Type    string          `json:"type,omitempty"`
	Key     string          `json:"key,omitempty"`
	Time    time.Time       `json:"time,omitzero"`
	Skipped uint64          `json:"skipped,omitempty"`
	Data    *string         `json:"data,omitempty"`
	Base64  []byte          `json:"data_base64,omitempty"` // what is not UTF-8
	Gap     *gapLine        `json:"gap,omitempty"`
	End     bool            `json:"end,omitempty"`
	Fault   string          `json:"fault,omitempty"`
}

type gapLine struct {
	After    fairlead.Cursor `json:"after"`
	Earliest fairlead.Cursor `json:"earliest"`
	Skipped  *int64          `json:"skipped"` // null: unknown
}

func lineOf(item *client.Item) line {
	l := line{Cursor: item.Cursor, Skipped: item.Skipped}
	switch item.Kind {
	case client.KindEvent:
		e := &item.Event
		l.Topic, l.Type, l.Key, l.Time = e.Topic, e.Type, e.Key, e.Time
		if text := string(e.Data); utf8.ValidString(text) {
			l.Data = &text
		} else {
			l.Base64 = e.Data
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
