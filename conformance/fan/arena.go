//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// arena is the processes of a measurement.
type arena struct {
	settings settings
	targets  []*target
	loads    []*child
}

// perLoad is how many connections a load holds: a process may open 20,000
// descriptors at most on some systems.
const perLoad = 8_000

// newArena starts Fairlead and the floor.
func newArena(ctx context.Context, s settings) (a *arena, server, floor *target, err error) {
	a = &arena{settings: s}
	if server, err = startServer(ctx, s); err != nil {
		return nil, nil, nil, err
	}
	a.targets = append(a.targets, server)
	if floor, err = startFloor(ctx); err != nil {
		a.close()
		return nil, nil, nil, err
	}
	a.targets = append(a.targets, floor)
	return a, server, floor, nil
}

func (a *arena) close() {
	for _, l := range a.loads {
		l.stop()
	}
	for _, t := range a.targets {
		t.stop()
	}
}

// connect opens n subscribers like the order says, from loads that have room.
func (a *arena) connect(t *target, n int, o order) error {
	_, err := a.connectPorts(t, n, o)
	return err
}

// connectPorts also returns from where those connect that have a pace.
func (a *arena) connectPorts(t *target, n int, o order) (ports []int, err error) {
	o.Do, o.Group, o.Path = "connect", t.name, t.path
	if o.Address == "" {
		o.Address = t.address
	}
	if o.Kind == "" {
		o.Kind = a.settings.kind
	}
	if t.name == "floor" {
		o.Kind = kindSSE
	}
	if o.Pace == 0 {
		t.subscribers += n
	}
	for left := n; left > 0; {
		if len(a.loads) == 0 || a.loads[len(a.loads)-1].sockets >= perLoad {
			l, err := self("load")
			if err != nil {
				return nil, err
			}
			a.loads = append(a.loads, l)
		}
		l := a.loads[len(a.loads)-1]
		o.Count = min(left, perLoad-l.sockets)
		o.Source = fmt.Sprintf("127.0.0.%d", 10+len(a.loads))
		r, err := l.ask(o)
		if err != nil {
			return nil, err
		}
		ports = append(ports, r.Ports...)
		l.sockets += o.Count
		left -= o.Count
	}
	return ports, nil
}

// all sends an order to each load and returns the sum of what they say.
func (a *arena) all(o order) (report, error) {
	var sum report
	for _, l := range a.loads {
		if err := l.tell(o); err != nil {
			return sum, err
		}
	}
	var first error
	for _, l := range a.loads {
		r, err := l.hear()
		if err != nil && first == nil {
			first = err
		}
		sum.Deliveries += r.Deliveries
		sum.Bytes += r.Bytes
		sum.Lost += r.Lost
		sum.Quiet += r.Quiet
		for bucket, n := range r.Delays {
			if sum.Delays == nil {
				sum.Delays = make(map[uint16]int64)
			}
			sum.Delays[bucket] += n
		}
	}
	return sum, first
}

// publish makes one request of so many events, and waits until all have them.
func (a *arena) publish(ctx context.Context, t *target, events int) error {
	p := t.one
	if events > 1 {
		p = t.lines
	}
	if err := p.publish(ctx, time.Now(), events); err != nil {
		return err
	}
	t.published += int64(events)
	return a.await(t)
}

// await returns when all subscribers have all that was published.
func (a *arena) await(t *target) error {
	_, err := a.all(order{Do: "await", Group: t.name, Events: t.published, Within: 20 * time.Second})
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

// turn publishes so often, each time so many events, and returns what a
// delivery cost the target's processes, in µs.
func (a *arena) turn(ctx context.Context, t *target, publications, events int) (float64, error) {
	before, err := cpu(t.pids)
	if err != nil {
		return 0, err
	}
	for range publications {
		if err := a.publish(ctx, t, events); err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
	after, err := cpu(t.pids)
	return float64((after - before).Nanoseconds()) / 1000 / float64(publications*events*max(1, t.subscribers)), err
}

// frameSize returns the bytes of an event on the wire, of several that are
// published at once.
func (a *arena) frameSize(ctx context.Context, t *target, events int) (int, error) {
	before, err := a.all(order{Do: "count", Group: t.name})
	if err != nil {
		return 0, err
	}
	for range 10 {
		if err := a.publish(ctx, t, events); err != nil {
			return 0, err
		}
	}
	time.Sleep(10 * time.Millisecond) // what comes after the mark of the last
	after, err := a.all(order{Do: "count", Group: t.name})
	return int((after.Bytes - before.Bytes) / max(1, after.Deliveries-before.Deliveries)), err
}

// turns lets server and floor take turns, changing who is first.
func (a *arena) turns(ctx context.Context, server, floor *target, publications, events int) (*duel, error) {
	d := new(duel)
	return d, d.alternate(a.settings.rounds, floor, server, func(t *target) (float64, error) {
		return a.turn(ctx, t, publications, events)
	})
}
