//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
)

// measureDeliver takes the CPU of a delivery, one publication at a time.
func measureDeliver(ctx context.Context, s settings, out io.Writer) error {
	counts := []int{1, 100, 1_000, 10_000}
	if s.subscribers > 0 {
		counts = []int{s.subscribers}
	}
	fmt.Fprintf(out, "\nCPU of the server's process for a delivery over %s, one publication at a time; %d turns of each.\n\n", s.kind, s.rounds)
	fmt.Fprintf(out, "| subscribers | B on the wire | %s |\n| ---: | ---: | ---: | ---: | ---: | --- | --- |\n", duelHead)
	for _, n := range counts {
		// A turn is some tenth of a second of CPU at most.
		if err := duelAt(ctx, s, out, n, max(3, min(200, 50_000/n)), 1); err != nil {
			return fmt.Errorf("%d subscribers: %w", n, err)
		}
	}
	return nil
}

// measureBurst publishes a hundred events in one request.
func measureBurst(ctx context.Context, s settings, out io.Writer) error {
	const events = 100
	n := s.subscribers
	if n == 0 {
		n = 1_000
	}
	fmt.Fprintf(out, "\nThe same for %d events in one request, which the floor writes at once; %d turns of each.\n\n", events, s.rounds)
	fmt.Fprintf(out, "| subscribers | B on the wire | %s |\n| ---: | ---: | ---: | ---: | ---: | --- | --- |\n", duelHead)
	return duelAt(ctx, s, out, n, 3, events)
}

// duelAt prints the row of so many subscribers.
func duelAt(ctx context.Context, s settings, out io.Writer, n, publications, events int) error {
	a, server, floor, err := newArena(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	for _, t := range a.targets {
		if err := a.connect(t, n, order{}); err != nil {
			return err
		}
	}
	size, err := a.frameSize(ctx, server, events)
	if err != nil {
		return err
	}
	if err := floor.frames(size, events, 1); err != nil {
		return err
	}
	var d *duel
	if err := s.profiled(server, func() (err error) {
		d, err = a.turns(ctx, server, floor, publications, events)
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintf(out, "| %d | %d | %s |\n", n, size, d)
	return nil
}
