//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// measureBeat takes what heartbeats cost, of subscribers that get nothing else.
func measureBeat(ctx context.Context, s settings, out io.Writer) error {
	if s.subscribers == 0 {
		s.subscribers = 10_000
	}
	if s.duration == 0 {
		s.duration = 10 * time.Second
	}
	s.heartbeat = time.Second
	fmt.Fprintf(out, "\nHeartbeats each %v to %d subscribers that get nothing else, for %v. A WebSocket's is answered by its client, which is read.\n\n",
		s.heartbeat, s.subscribers, s.duration)
	fmt.Fprint(out, "| | CPU of a heartbeat, µs | at the default of 15 s, of one core |\n| --- | ---: | ---: |\n")
	for _, kind := range []string{kindSSE, kindWebSocket} {
		s.kind = kind
		cost, err := costOfBeat(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		fmt.Fprintf(out, "| %s | %.2f | %.2f %% |\n", kind, cost, cost*float64(s.subscribers)/15/1e6*100)
	}
	return nil
}

// costOfBeat returns the CPU of a heartbeat, in µs.
func costOfBeat(ctx context.Context, s settings) (float64, error) {
	t, err := startServer(ctx, s)
	if err != nil {
		return 0, err
	}
	a := &arena{settings: s, targets: []*target{t}}
	defer a.close()
	if err := a.connect(t, s.subscribers, order{}); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // the first have come
	first, err := a.all(order{Do: "count", Group: t.name})
	if err != nil {
		return 0, err
	}
	before, err := cpu(t.pids)
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(s.duration):
	}
	after, err := cpu(t.pids)
	if err != nil {
		return 0, err
	}
	last, err := a.all(order{Do: "count", Group: t.name})
	if err == nil && last.Lost > 0 {
		err = fmt.Errorf("%d connections were lost", last.Lost)
	}
	return float64((after - before).Nanoseconds()) / 1000 / float64(max(1, last.Quiet-first.Quiet)), err
}
