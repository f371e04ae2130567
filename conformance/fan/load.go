//go:build linux

package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// load holds subscribers, and counts what they get.
type load struct {
	pollers []*poller
	groups  map[string]*group
}

// group is the subscribers of one target.
type group struct {
	tally
	subscribers int64 // without those that have a pace
	ports       []int // of those, from where they connect
	delays      histogram
	release     []func() // what net/http holds
}

// runLoad takes orders until there are no more.
func runLoad([]string) error {
	l := &load{groups: make(map[string]*group)}
	for range runtime.GOMAXPROCS(0) {
		p, err := newPoller()
		if err != nil {
			return err
		}
		l.pollers = append(l.pollers, p)
		go p.run()
	}
	return serveOrders(l.do)
}

func (l *load) do(o order) (report, error) {
	g := l.groups[o.Group]
	if g == nil {
		g = &group{tally: tally{reached: make(chan struct{}, 1)}}
		l.groups[o.Group] = g
	}
	switch o.Do {
	case "connect":
		before := len(g.ports)
		open := l.connect
		if o.Kind == kindTLS || o.Kind == kindH2 {
			open = (*group).hold
		}
		if err := open(g, o); err != nil {
			return report{}, err
		}
		return report{Ports: g.ports[before:]}, nil
	case "await":
		err := g.await(o.Events*g.subscribers, o.Within)
		return g.report(), err
	case "count":
		return g.report(), nil
	case "delays":
		r := g.report()
		r.Delays = g.delays.take()
		return r, nil
	case "churn":
		return l.churn(g, o)
	case "close":
		for _, p := range l.pollers {
			p.closeAll(g)
		}
		for _, release := range g.release {
			release()
		}
		return g.report(), nil
	}
	return report{}, fmt.Errorf("there is no order %q", o.Do)
}

// connect opens subscribers, several at a time, and returns when each has the
// head of its response.
func (l *load) connect(g *group, o order) error {
	const lanes = 8
	var open sync.WaitGroup
	var mu sync.Mutex // guards first and g.ports
	var first error
	for lane := range lanes {
		open.Go(func() {
			for i := lane; i < o.Count; i += lanes {
				s, err := subscribe(g, o)
				if err == nil && o.Pace == 0 {
					err = l.pollers[i%len(l.pollers)].add(s)
				}
				mu.Lock()
				if err == nil && o.Pace != 0 {
					g.ports = append(g.ports, s.port)
					go s.trickle(o.Pace)
				}
				if err != nil && first == nil {
					first = fmt.Errorf("subscriber %d of %d: %w", i, o.Count, err)
				}
				failed := first != nil
				mu.Unlock()
				if failed {
					return
				}
			}
		})
	}
	open.Wait()
	if o.Pace == 0 {
		g.subscribers += int64(o.Count)
	}
	return first
}

// await returns when there have been so many deliveries.
func (g *group) await(n int64, within time.Duration) error {
	select {
	case <-g.reached: // of an earlier one that gave up
	default:
	}
	g.goal.Store(n)
	if g.deliveries.Load() >= n {
		return nil
	}
	select {
	case <-g.reached:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%d of %d deliveries after %v, %d connections lost", g.deliveries.Load(), n, within, g.lost.Load())
	}
}

func (g *group) report() report {
	return report{Deliveries: g.deliveries.Load(), Bytes: g.bytes.Load(), Quiet: g.quiet.Load(), Lost: g.lost.Load()}
}
