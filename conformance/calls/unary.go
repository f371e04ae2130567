//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// dataSize is how many bytes an event has.
const dataSize = 100

func newEvent() *fairleadv1.Event {
	return &fairleadv1.Event{ContentType: "text/plain", Data: []byte(strings.Repeat("x", dataSize))}
}

const duelHead = "| %s | grpc-go, µs | Fairlead, µs | ratio, median | middle half |\n| ---: | ---: | ---: | ---: | --- |\n"

// measureUnary publishes events, so many calls at one time over one channel.
func measureUnary(ctx context.Context, s settings, out io.Writer) error {
	fmt.Fprintf(out, "\nCPU of the server for a Publish of %d bytes, %d turns of each; the twin keeps the events in a slice.\n\n", dataSize, s.rounds)
	fmt.Fprintf(out, duelHead, "calls at one time")
	const calls = 4_000
	for _, many := range []int{1, 16, 90} {
		err := duel(ctx, s, out, fmt.Sprint(many), func(server *server) (float64, error) {
			return server.costs(calls, func() error { return crowd(many, calls/many, func() error { return publishOne(ctx, server) }) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func publishOne(ctx context.Context, s *server) error {
	return s.publish(ctx, "calls", newEvent())
}

// crowd has so many do it so often each.
func crowd(many, times int, do func() error) error {
	var all sync.WaitGroup
	failed := make(chan error, many)
	for range many {
		all.Go(func() {
			for range times {
				if err := do(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// duel prints the row of what both cost in turns.
func duel(ctx context.Context, s settings, out io.Writer, name string, turn func(*server) (float64, error)) error {
	fairlead, bare, err := both(ctx, s.server)
	if err != nil {
		return err
	}
	defer fairlead.stop()
	defer bare.stop()
	var theirs, ours, ratios []float64
	for round := range s.rounds + 1 {
		least, err := turn(bare)
		if err != nil {
			return fmt.Errorf("grpc-go: %w", err)
		}
		cost, err := turn(fairlead)
		if err != nil {
			return fmt.Errorf("fairlead: %w", err)
		}
		if round > 0 { // the first warms up
			theirs, ours, ratios = append(theirs, least), append(ours, cost), append(ratios, cost/least)
		}
	}
	a, _, _ := middle(theirs)
	b, _, _ := middle(ours)
	ratio, low, high := middle(ratios)
	fmt.Fprintf(out, "| %s | %.1f | %.1f | **%.2f** | %.2f–%.2f |\n", name, a, b, ratio, low, high)
	return nil
}

// measureStream reads a topic that is full, so many readers at one time.
func measureStream(ctx context.Context, s settings, out io.Writer) error {
	fmt.Fprintf(out, "\nCPU of the server for a message of Subscribe with %d bytes of data, %d turns of each.\n\n", dataSize, s.rounds)
	fmt.Fprintf(out, duelHead, "readers at one time")
	for _, many := range []int{1, 10} {
		filled := map[*server]bool{}
		err := duel(ctx, s, out, fmt.Sprint(many), func(server *server) (float64, error) {
			if !filled[server] {
				filled[server] = true
				if err := fill(ctx, server); err != nil {
					return 0, err
				}
			}
			return server.costs(many*retained, func() error {
				return crowd(many, 1, func() error { return server.subscribe(ctx, "calls", retained) })
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func fill(ctx context.Context, s *server) error {
	batch := make([]*fairleadv1.Event, 1_000)
	for i := range batch {
		batch[i] = newEvent()
	}
	for range retained / len(batch) {
		if err := s.publish(ctx, "calls", batch...); err != nil {
			return err
		}
	}
	return nil
}
