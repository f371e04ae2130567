//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// The schedule of publications whose delays are taken: an event is late from
// the moment it was due, also when the publisher still waits for an answer.
const latencyInterval = 10 * time.Millisecond

// measureLatency takes the time from when an event was due to when a
// subscriber has read it.
func measureLatency(ctx context.Context, s settings, out io.Writer) error {
	if s.subscribers == 0 {
		s.subscribers = 1_000
	}
	if s.duration == 0 {
		s.duration = 10 * time.Second
	}
	a, server, floor, err := newArena(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	for _, t := range a.targets {
		if err := a.connect(t, s.subscribers, order{}); err != nil {
			return err
		}
	}
	size, err := a.frameSize(ctx, server, 1)
	if err != nil {
		return err
	}
	if err := floor.frames(size, 1); err != nil {
		return err
	}
	const turns = 5
	delays := map[*target]map[uint16]int64{server: {}, floor: {}}
	for round := range turns + 1 {
		for _, t := range a.targets {
			counts, err := a.delaysOf(ctx, t, s.duration/turns)
			if err != nil {
				return err
			}
			for bucket, n := range counts {
				if round > 0 { // the first warms up
					delays[t][bucket] += n
				}
			}
		}
	}
	fmt.Fprintf(out, "\nFrom when an event was due until a subscriber has read it: an event each %v to %d subscribers over %s, for %v.\n\n",
		latencyInterval, s.subscribers, s.kind, s.duration)
	fmt.Fprint(out, "| | events | p50 | p99 | p99.9 | max |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, t := range []*target{floor, server} {
		total := int64(0)
		for _, n := range delays[t] {
			total += n
		}
		fmt.Fprintf(out, "| %s | %d |", t.name, total)
		for _, q := range []float64{0.5, 0.99, 0.999, 1} {
			fmt.Fprintf(out, " %v |", quantile(delays[t], q).Round(time.Microsecond))
		}
		fmt.Fprintln(out)
	}
	return nil
}

// delaysOf publishes on the schedule for a while and counts the delays.
func (a *arena) delaysOf(ctx context.Context, t *target, during time.Duration) (map[uint16]int64, error) {
	if _, err := a.all(order{Do: "delays", Group: t.name}); err != nil { // forgets earlier ones
		return nil, err
	}
	if _, err := a.paced(ctx, t, max(1, int(during/latencyInterval)), 1, latencyInterval); err != nil {
		return nil, err
	}
	r, err := a.all(order{Do: "delays", Group: t.name})
	return r.Delays, err
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
	cases := []struct {
		name  string
		pace  int
		ports []int
		p99s  []float64 // in µs
		ratio []float64 // to none, of the same round
	}{{name: "none"}, {name: "one stopped", pace: -1}, {name: "one at 1 KB/s", pace: 1_000}}
	for i := range cases {
		c := &cases[i]
		t, err := startServer(ctx, s)
		if err != nil {
			return err
		}
		t.name = c.name
		a.targets = append(a.targets, t)
		if err := a.connect(t, s.subscribers, order{}); err != nil {
			return err
		}
		if c.pace != 0 {
			if c.ports, err = a.connectPorts(t, 1, order{Pace: c.pace, Receive: 4 << 10}); err != nil {
				return err
			}
		}
		for range 10 { // more than the kernel's buffers would hold
			if err := a.publish(ctx, t, 1_000); err != nil {
				return err
			}
		}
	}
	for round := range s.rounds + 1 {
		for i := range cases {
			counts, err := a.delaysOf(ctx, a.targets[i], s.duration/time.Duration(s.rounds))
			if err != nil {
				return err
			}
			p99 := float64(quantile(counts, 0.99)) / 1000
			if round > 0 { // the first warms up
				cases[i].p99s = append(cases[i].p99s, p99)
				cases[i].ratio = append(cases[i].ratio, p99/cases[0].p99s[round-1])
			}
		}
	}
	fmt.Fprintf(out, "\nWhat a slow subscriber costs %d others over %s, at an event each %v; it is behind by 10,000 events from the start. %d turns of each.\n\n",
		s.subscribers, s.kind, latencyInterval, s.rounds)
	fmt.Fprint(out, "| slow subscribers | p99 of the others, median | against none, median | middle half | unsent in the kernel, bytes |\n| --- | ---: | ---: | --- | ---: |\n")
	for i, c := range cases {
		unsent := "–"
		if c.pace != 0 {
			r, err := a.targets[i].child.ask(order{Do: "unsent", Ports: c.ports})
			if err != nil {
				return err
			}
			if unsent = fmt.Sprint(r.Unsent); r.Unsent < 0 {
				unsent = "the server has closed it"
			}
		}
		sorted := slices.Sorted(slices.Values(c.ratio))
		fmt.Fprintf(out, "| %s | %.0f µs | %.2f | %.2f–%.2f | %s |\n", c.name, median(c.p99s), median(c.ratio), sorted[len(sorted)/4], sorted[len(sorted)*3/4], unsent)
	}
	return nil
}
