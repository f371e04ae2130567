//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"
)

// measureFlood publishes a thousand times a second to a thousand subscribers,
// with each flush delay.
func measureFlood(ctx context.Context, s settings, out io.Writer) error {
	if s.subscribers == 0 {
		s.subscribers = 1_000
	}
	if s.duration == 0 {
		s.duration = 10 * time.Second
	}
	cost, err := costOfPublish(ctx, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n1,000 publishes a second to %d subscribers over %s, of which the server takes each in %.0f µs of CPU when there are none;\n", s.subscribers, s.kind, cost)
	fmt.Fprintf(out, "%v in %d turns, as long for a floor that takes as many requests and writes as many frames at once, and for one that is asked for the\n"+
		"writes only. A µs a delivery is a CPU-second a million.\n\n", s.duration, s.rounds)
	fmt.Fprintf(out, "| flush_delay | frames a write | p50 | p99 | B an event | writes only, µs | ratio to that | %s |\n"+
		"| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n", duelHead)
	for _, delay := range s.delays {
		s.flushDelay = delay
		if err := flood(ctx, s, out); err != nil {
			return fmt.Errorf("flush_delay %v: %w", delay, err)
		}
	}
	return nil
}

// costOfPublish returns what a publish costs without subscribers, in µs.
func costOfPublish(ctx context.Context, s settings) (float64, error) {
	t, err := startServer(ctx, s)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	var costs []float64
	for range 5 {
		before, err := cpu(t.pids)
		if err != nil {
			return 0, err
		}
		const n = 500
		if err := t.one.paced(ctx, n, 1, time.Millisecond); err != nil {
			return 0, err
		}
		after, err := cpu(t.pids)
		if err != nil {
			return 0, err
		}
		costs = append(costs, float64((after-before).Nanoseconds())/1000/n)
	}
	return median(costs), nil
}

// flood prints the row of a flush delay.
func flood(ctx context.Context, s settings, out io.Writer) error {
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
	var f flooded
	if err := s.profiled(server, func() error { return f.run(ctx, a, server, floor) }); err != nil {
		return err
	}
	fmt.Fprintf(out, "| %v | %.1f | %s | %s | %.0f | %.2f | %.2f | %s |\n", s.flushDelay, median(f.perWrite),
		quantile(f.delays, 0.5).Round(time.Microsecond), quantile(f.delays, 0.99).Round(time.Microsecond), median(f.sizes), median(f.writes), median(f.toWrites), &f.duel)
	return nil
}

// flooded is what the turns of a flood have shown.
type flooded struct {
	duel

	writes, toWrites []float64 // of a floor that takes no publishes, and the ratio to it
	perWrite, sizes  []float64
	delays           map[uint16]int64
}

func (f *flooded) run(ctx context.Context, a *arena, server, floor *target) error {
	f.delays = make(map[uint16]int64)
	events := max(1, int(a.settings.duration/time.Duration(a.settings.rounds)/time.Millisecond))
	for round := range a.settings.rounds + 1 {
		w, err := a.wave(ctx, server, events)
		if err != nil {
			return err
		}
		least, err := a.echo(ctx, floor, events, w, true)
		if err != nil {
			return err
		}
		writes, err := a.echo(ctx, floor, events, w, false)
		if err != nil {
			return err
		}
		if round == 0 { // warms up
			continue
		}
		f.add(least, w.cost)
		f.writes, f.toWrites = append(f.writes, writes), append(f.toWrites, w.cost/writes)
		f.perWrite, f.sizes = append(f.perWrite, w.perWrite), append(f.sizes, w.size)
		for bucket, n := range w.delays {
			f.delays[bucket] += n
		}
	}
	return nil
}

// wave is a turn of the server.
type wave struct {
	cost     float64 // µs a delivery
	perWrite float64 // deliveries a write
	size     float64 // bytes a delivery
	delays   map[uint16]int64
}

func (a *arena) wave(ctx context.Context, t *target, events int) (wave, error) {
	var w wave
	start, err := a.all(order{Do: "delays", Group: t.name})
	if err != nil {
		return w, err
	}
	written, err := writes(t.pids)
	if err != nil {
		return w, err
	}
	if w.cost, err = a.paced(ctx, t, events, 1, time.Millisecond); err != nil {
		return w, err
	}
	writtenAfter, err := writes(t.pids)
	if err != nil {
		return w, err
	}
	end, err := a.all(order{Do: "delays", Group: t.name})
	n := float64(end.Deliveries - start.Deliveries)
	w.size = float64(end.Bytes-start.Bytes) / n
	w.perWrite = n / float64(max(1, writtenAfter-written-int64(events))) // a publish is answered by a write, too
	w.delays = end.Delays
	return w, err
}

// echo makes the floor send as many events in as many writes as the server did,
// in the same time, and returns the cost of a delivery, in µs: so many of its
// writes send one frame more than the others that the sum is right. The floor
// takes a request for each event, or one for each write.
func (a *arena) echo(ctx context.Context, floor *target, events int, w wave, eachEvent bool) (float64, error) {
	rounds := min(events, max(1, int(math.Round(float64(events)/w.perWrite))))
	few := events / rounds
	more := events % rounds
	cost := 0.0
	for _, part := range []struct{ rounds, frames int }{{more, few + 1}, {rounds - more, few}} {
		if part.rounds == 0 {
			continue
		}
		publications, at, every, interval := part.rounds, part.frames, 1, time.Duration(events)*time.Millisecond/time.Duration(rounds)
		if eachEvent {
			publications, at, every, interval = part.rounds*part.frames, 1, part.frames, time.Millisecond
		}
		if err := floor.frames(int(math.Round(w.size)), part.frames, every); err != nil {
			return 0, err
		}
		c, err := a.paced(ctx, floor, publications, at, interval)
		if err != nil {
			return 0, err
		}
		cost += c * float64(part.rounds*part.frames) / float64(events)
	}
	return cost, nil
}

// paced publishes at intervals and waits until all subscribers have it all. It
// returns the CPU of a delivery, in µs.
func (a *arena) paced(ctx context.Context, t *target, publications, events int, interval time.Duration) (float64, error) {
	before, err := cpu(t.pids)
	if err != nil {
		return 0, err
	}
	p := t.one
	if events > 1 {
		p = t.lines
	}
	if err := p.paced(ctx, publications, events, interval); err != nil {
		return 0, err
	}
	t.published += int64(publications * events)
	if err := a.await(t); err != nil {
		return 0, err
	}
	after, err := cpu(t.pids)
	return float64((after - before).Nanoseconds()) / 1000 / float64(publications*events*max(1, t.subscribers)), err
}
