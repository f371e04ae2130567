package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// longest bounds a run of everything, whatever hangs.
const longest = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, longest)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// modes are the measurements by their names.
var modes = map[string]func(context.Context, []proxy, io.Writer) error{
	"stale": measureStale,
	"cpu":   measureCPU,
	"slow":  measureSlow,
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 2 && args[0] == "twin" {
		return serveTwin(ctx, args[1], args[2:])
	}
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	fairlead := flags.String("fairlead", "bin/fairlead", "Fairlead's program")
	only := flags.String("only", "", "the proxies to measure, separated by commas; default all")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	for _, name := range flags.Args() {
		if modes[name] == nil {
			return fmt.Errorf("there is no measurement %q; there are stale, cpu and slow", name)
		}
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("name what to measure: stale, cpu or slow")
	}
	proxies, err := all(*fairlead)
	if err != nil {
		return err
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		proxies = slices.DeleteFunc(proxies, func(p proxy) bool { return !slices.Contains(names, p.name) })
		if len(proxies) != len(names) {
			return fmt.Errorf("-only %s: there are twin, fairlead, nginx, haproxy and caddy", *only)
		}
	}
	if err := describe(ctx, proxies, out); err != nil {
		return err
	}
	for _, name := range flags.Args() {
		if err := modes[name](ctx, proxies, out); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
