//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
)

// lives is how often the two servers of a comparison are started anew: what differs
// between two processes of the same program then counts for either.
const lives = 4

// pairs is how many turns each round has: what else the machine does changes less
// within short ones.
const pairs = 10

// watched is a pair of servers that differ in a part of the configuration, which is
// what is measured.
type watched struct {
	without, with *target
	cost          func(*target) (float64, error) // of a turn, in µs
	close         func()
}

// measureCost takes what watching costs a delivery: the CPU of the server's process
// with a part of the configuration against that without, in pairs.
func measureCost(ctx context.Context, s settings, out io.Writer) error {
	n := s.subscribers
	if n == 0 {
		n = 1_000
	}
	fmt.Fprintf(out, "\nWhat watching costs a delivery to %d subscribers over %s, one publication at a time; %d turns of each.\n\n", n, s.kind, pairs*s.rounds)
	return compareAll(ctx, s, out, func(keys [2]string, first int) (*watched, error) { return s.watchFan(ctx, n, keys, first) })
}

// measureProxyCost takes what it costs a request that is forwarded.
func measureProxyCost(ctx context.Context, s settings, out io.Writer) error {
	origin, err := startOrigin(ctx)
	if err != nil {
		return err
	}
	defer origin.stop()
	fmt.Fprintf(out, "\nWhat watching costs a GET through the proxy, %d turns of each of %d requests over %d kept connections.\n\n", pairs*s.rounds, requests, connections)
	return compareAll(ctx, s, out, func(keys [2]string, first int) (*watched, error) {
		return s.watchProxy(ctx, origin.address, keys, first)
	})
}

// compareAll prints a row of each part; start starts two servers with keys of their
// own, in the order that first says.
func compareAll(ctx context.Context, s settings, out io.Writer, start func(keys [2]string, first int) (*watched, error)) error {
	sink, err := startOrigin(ctx) // of spans
	if err != nil {
		return err
	}
	defer sink.stop()
	tracing := fmt.Sprintf("tracing: {endpoint: \"http://%s\", sample: 0.01}\n", sink.address)
	fmt.Fprint(out, "| | without, µs | with, µs | ratio, median | middle half | all |\n| --- | ---: | ---: | ---: | --- | --- |\n")
	for _, c := range []struct{ name, without, with string }{
		{"metrics", "metrics: false\n", "metrics: true\n"},
		{"metrics, against themselves", "metrics: true\n", "metrics: true\n"},
		{"tracing of 1 %", "", tracing},
		{"tracing, against itself", tracing, tracing},
	} {
		d, err := compare(pairs*s.rounds, func(first int) (*watched, error) { return start([2]string{c.without, c.with}, first) })
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(out, "| %s | %s |\n", c.name, d.columns(3))
	}
	return nil
}

// compare has pairs take their turns, so many in all, of some lives of the servers.
func compare(rounds int, start func(first int) (*watched, error)) (*duel, error) {
	d := new(duel)
	for life := range lives {
		w, err := start(life % 2)
		if err != nil {
			return nil, err
		}
		err = d.alternate((rounds+life)/lives, w.without, w.with, w.cost)
		w.close()
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// startBoth starts two servers with keys of their own, and has each met before the
// next.
func (s settings) startBoth(ctx context.Context, keys [2]string, first int, meet func(*target) error) (both [2]*target, err error) {
	for i := range both {
		at := (first + i) % 2
		s.keys = keys[at]
		t, err := startServer(ctx, s)
		if err == nil {
			t.name = fmt.Sprintf("server %d", at)
			both[at] = t
			err = meet(t)
		}
		if err != nil {
			stopAll(both[:])
			return both, err
		}
	}
	return both, nil
}

func stopAll(targets []*target) {
	for _, t := range targets {
		if t != nil {
			t.stop()
		}
	}
}

// watchFan is of deliveries to n subscribers.
func (s settings) watchFan(ctx context.Context, n int, keys [2]string, first int) (*watched, error) {
	a := &arena{settings: s}
	both, err := s.startBoth(ctx, keys, first, func(t *target) error { return a.connect(t, n, order{}) })
	if err != nil {
		a.close()
		return nil, err
	}
	a.targets = both[:]
	return &watched{
		without: both[0], with: both[1], close: a.close,
		cost: func(t *target) (float64, error) { return a.turn(ctx, t, max(1, 10_000/n), 1) },
	}, nil
}
