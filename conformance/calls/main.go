//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// longest bounds a run, whatever hangs.
const longest = 20 * time.Minute

// settings are what the command line says.
type settings struct {
	server string
	rounds int
}

var measures = map[string]func(context.Context, settings, io.Writer) error{
	"unary":   measureUnary,
	"stream":  measureStream,
	"records": measureRecords,
	"formats": measureFormats,
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		if err := runBare(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "calls: bare:", err)
			os.Exit(1)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("calls", flag.ContinueOnError)
	flags.StringVar(&s.server, "server", "bin/fairlead", "Fairlead's program")
	flags.IntVar(&s.rounds, "rounds", 20, "turns of server and twin")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	names := flags.Args()
	if len(names) == 0 {
		names = []string{"unary", "stream", "records", "formats"}
	}
	for _, name := range names {
		measure := measures[name]
		if measure == nil {
			return fmt.Errorf("there is no measurement %q", name)
		}
		if err := measure(ctx, s, out); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// middle returns the median, and between what the middle half is.
func middle(values []float64) (median, low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return sorted[n/2], sorted[n/4], sorted[n-1-n/4]
}
