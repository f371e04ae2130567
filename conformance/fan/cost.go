//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
)

// measureCost takes what watching costs: the CPU of deliveries with a part of the
// configuration against that without, in pairs.
func measureCost(ctx context.Context, s settings, out io.Writer) error {
	n := s.subscribers
	if n == 0 {
		n = 1_000
	}
	fmt.Fprintf(out, "\nWhat watching costs a delivery to %d subscribers over %s, one publication at a time; %d turns of each.\n\n", n, s.kind, s.rounds)
	fmt.Fprint(out, "| | without, µs | with, µs | ratio, median | middle half | all |\n| --- | ---: | ---: | ---: | --- | --- |\n")
	for _, c := range []struct{ name, without, with string }{
		{"metrics", "metrics: false\n", "metrics: true\n"},
		{"metrics, against themselves", "metrics: true\n", "metrics: true\n"},
		{"tracing of 1 %", "", "tracing: {endpoint: \"http://127.0.0.1:9\", sample: 0.01}\n"},
	} {
		if err := costOf(ctx, s, out, n, c.name, c.without, c.with); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func costOf(ctx context.Context, s settings, out io.Writer, n int, name, without, with string) error {
	a := &arena{settings: s}
	defer a.close()
	for _, keys := range []string{without, with} {
		s.keys = keys
		t, err := startServer(ctx, s)
		if err != nil {
			return err
		}
		t.name = fmt.Sprintf("server %d", len(a.targets))
		a.targets = append(a.targets, t)
		if err := a.connect(t, n, order{}); err != nil {
			return err
		}
	}
	d, err := a.turns(ctx, a.targets[1], a.targets[0], 50_000/n, 1)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| %s | %s |\n", name, d)
	return nil
}
