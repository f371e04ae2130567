//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// reader is a kind of slow subscriber, of which one is among many others.
type reader struct {
	name   string
	pace   int // bytes a second; 0: there is none, -1: it reads nothing
	target *target
	ports  []int

	unsent int       // that the kernel held for it, at most
	open   bool      // at the end
	p99s   []float64 // of the others, in µs
	ratios []float64 // to those without a slow subscriber, of the same round
}

// measureSlow takes what a subscriber that does not read, or slowly, costs the
// others, by three servers that take turns.
func measureSlow(ctx context.Context, s settings, out io.Writer) error {
	if s.subscribers == 0 {
		s.subscribers = 1_000
	}
	if s.duration == 0 {
		s.duration = 20 * time.Second
	}
	a := &arena{settings: s}
	defer a.close()
	readers := []*reader{{name: "none"}, {name: "one stopped", pace: -1}, {name: "one at 1 KB/s", pace: 1_000}}
	for _, r := range readers {
		if err := r.settle(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	for round := range s.rounds + 1 {
		for _, r := range readers {
			p99, err := r.turn(ctx, a)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if round > 0 { // the first warms up
				r.p99s = append(r.p99s, p99)
				r.ratios = append(r.ratios, p99/readers[0].p99s[round-1])
			}
		}
	}
	fmt.Fprintf(out, "\nWhat a slow subscriber costs %d others over %s, at an event each %v; it is behind by %d events from the start. %d turns of each.\n\n",
		s.subscribers, s.kind, latencyInterval, ahead, s.rounds)
	fmt.Fprint(out, "| slow subscribers | p99 of the others, median | against none, median | middle half | unsent in the kernel at most, bytes |\n")
	fmt.Fprint(out, "| --- | ---: | ---: | --- | ---: |\n")
	for _, r := range readers {
		fmt.Fprintln(out, r)
	}
	return nil
}

// ahead is how many events are published first: more than the kernel's buffers
// hold by themselves.
const ahead = 10_000

// settle starts a server with its subscribers, and leaves the slow one behind.
func (r *reader) settle(ctx context.Context, a *arena) error {
	t, err := startServer(ctx, a.settings)
	if err != nil {
		return err
	}
	t.name, r.target = r.name, t
	a.targets = append(a.targets, t)
	if err := a.connect(t, a.settings.subscribers, order{}); err != nil {
		return err
	}
	if r.pace != 0 {
		if r.ports, err = a.connectPorts(t, 1, order{Pace: r.pace, Receive: 4 << 10}); err != nil {
			return err
		}
	}
	for range ahead / 1_000 {
		if err := a.publish(ctx, t, 1_000); err != nil {
			return err
		}
	}
	return nil
}

// turn returns the p99 of those that read all, in µs.
func (r *reader) turn(ctx context.Context, a *arena) (float64, error) {
	counts, err := a.delaysOf(ctx, r.target, a.settings.duration/time.Duration(a.settings.rounds))
	if err != nil {
		return 0, err
	}
	if len(r.ports) > 0 {
		held, err := r.target.child.ask(order{Do: "unsent", Ports: r.ports})
		if err != nil {
			return 0, err
		}
		r.unsent, r.open = max(r.unsent, held.Unsent), held.Unsent >= 0
	}
	return float64(quantile(counts, 0.99)) / 1000, nil
}

// String is the row of a table.
func (r *reader) String() string {
	unsent := "–"
	if r.pace != 0 {
		unsent = strconv.Itoa(r.unsent)
		if !r.open {
			unsent += ", then closed"
		}
	}
	sorted := slices.Sorted(slices.Values(r.ratios))
	n := len(sorted)
	return fmt.Sprintf("| %s | %.0f µs | %.2f | %.2f–%.2f | %s |", r.name, median(r.p99s), median(r.ratios), sorted[n/4], sorted[n-1-n/4], unsent)
}
