//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// longest bounds a run of everything, whatever hangs.
const longest = 45 * time.Minute

func main() {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		if err := children[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "fan: %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, longest)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fan:", err)
		os.Exit(1)
	}
}

// children are the processes that a measurement starts of this program.
var children = map[string]func(args []string) error{
	"load":   runLoad,
	"floor":  runFloor,
	"origin": runOrigin,
}

// settings are what the command line says.
type settings struct {
	retained    int    // events that a topic retains; 0: as by default
	server      string // the program with the probe
	engine      string // of the configuration, "" leaves the key away
	flushDelay  time.Duration
	delays      []time.Duration // of a flood
	heartbeat   time.Duration   // 0: the server's default
	keys        string          // further ones of the configuration
	kind        string
	subscribers int // 0: as the measurement does
	rounds      int
	profile     string        // a file
	duration    time.Duration // 0: as the measurement does
}

// measures are the measurements by their names, each of which prints tables.
var measures = map[string]func(context.Context, settings, io.Writer) error{
	"beat":       measureBeat,
	"deliver":    measureDeliver,
	"burst":      measureBurst,
	"churn":      measureChurn,
	"cost":       measureCost,
	"cost-proxy": measureProxyCost,
	"flood":      measureFlood,
	"idle":       measureIdle,
	"latency":    measureLatency,
	"rivals":     measureRivals,
	"slow":       measureSlow,
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s := settings{kind: kindSSE, delays: []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}}
	flags := flag.NewFlagSet("fan", flag.ContinueOnError)
	flags.StringVar(&s.server, "server", "bin/fan-server", "Fairlead's program with the probe, as ci/fan builds it")
	flags.StringVar(&s.engine, "engine", "", "the key fanout.engine, true or false; by default none")
	flags.DurationVar(&s.flushDelay, "flush-delay", 0, "the key fanout.flush_delay; by default none")
	flags.Func("flush-delays", "those of flood, separated by commas; default 0s,1ms,5ms,20ms", s.setDelays)
	flags.Func("kind", "what subscribers are: sse (default) or websocket", s.setKind)
	flags.IntVar(&s.subscribers, "subscribers", 0, "how many; by default as each measurement says")
	flags.IntVar(&s.rounds, "rounds", 20, "turns of server and floor of which the median is taken")
	flags.StringVar(&s.profile, "profile", "", "the file for a CPU profile of the server under deliver, burst and flood; the last one's is kept")
	flags.DurationVar(&s.duration, "duration", 0, "how long; by default as each measurement says")
	names := strings.Join(sortedKeys(measures), ", ")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "fan [FLAGS] MEASUREMENT...: %s\n", names)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("name what to measure: %s", names)
	}
	for _, name := range flags.Args() {
		if measures[name] == nil {
			return fmt.Errorf("there is no measurement %q; there are %s", name, names)
		}
	}
	for _, name := range flags.Args() {
		if err := measures[name](ctx, s, out); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *settings) setKind(kind string) error {
	if kind != kindSSE && kind != kindWebSocket {
		return fmt.Errorf("subscribers are %s or %s", kindSSE, kindWebSocket)
	}
	s.kind = kind
	return nil
}

func (s *settings) setDelays(list string) error {
	s.delays = nil
	for text := range strings.SplitSeq(list, ",") {
		delay, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		s.delays = append(s.delays, delay)
	}
	return nil
}
