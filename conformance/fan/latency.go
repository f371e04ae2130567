//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
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
	if err := floor.frames(size, 1, 1); err != nil {
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
