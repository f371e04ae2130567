package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	slowRounds   = 3
	slowRate     = 500             // requests a second
	slowWarm     = 250             // requests before, all backends being well
	slowRequests = 1_250           // requests that count
	slowPatience = 2 * time.Second // of a client; it bounds those under way to slowRate × slowPatience
)

// fault is what happens to one of the three backends.
type fault struct {
	name  string
	delay time.Duration // of its answers from then on
	dead  bool          // it is gone, its port refuses
}

var faults = []fault{
	{name: "all are well", delay: time.Millisecond},
	{name: "one answers after 500 ms", delay: 500 * time.Millisecond},
	{name: "one is dead: its port refuses", dead: true},
	{name: "one accepts and never answers", delay: time.Hour},
}

// delayed answers after delay.
type delayed struct {
	delay atomic.Int64
	hits  atomic.Int64
}

// ServeHTTP answers unless the client goes before.
func (d *delayed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.hits.Add(1)
	select {
	case <-time.After(time.Duration(d.delay.Load())):
		small(w, r)
	case <-r.Context().Done():
	}
}

func measureSlow(ctx context.Context, proxies []proxy, out io.Writer) error {
	fmt.Fprintf(out, "\n%d GETs a second to three backends that take 1 ms; %d rounds of %d from the moment when one changes. A client waits %v.\n\n",
		slowRate, slowRounds, slowRequests, slowPatience)
	fmt.Fprintln(out, "| | | p50, ms | p99, ms | of the rounds | failed, of 10,000 | sent to that one |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, f := range faults {
		outcomes := make([][]outcome, len(proxies))
		for range slowRounds {
			for i, p := range proxies {
				o, err := f.through(ctx, p)
				if err != nil {
					return err
				}
				outcomes[i] = append(outcomes[i], o)
			}
		}
		for i, p := range proxies {
			fmt.Fprintf(out, "| %s | %s | %s |\n", f.name, p.name, cells(outcomes[i]))
		}
	}
	return nil
}

// cells are the medians of the rounds' quantiles, and what failed in all.
func cells(rounds []outcome) string {
	var p50, p99 []float64
	failed, hits, requests := 0, int64(0), 0
	for _, o := range rounds {
		p50, p99 = append(p50, quantile(o.millis, 0.5)), append(p99, quantile(o.millis, 0.99))
		failed, hits, requests = failed+o.failed, hits+o.hits, requests+len(o.millis)
	}
	return fmt.Sprintf("%.1f | %.1f | %.1f–%.1f | %.0f | %.1f %%", quantile(p50, 0.5), quantile(p99, 0.5), slices.Min(p99), slices.Max(p99),
		float64(failed)*10_000/float64(requests), float64(hits)*100/float64(requests))
}

// outcome is what clients saw.
type outcome struct {
	millis []float64 // one for each request
	failed int
	hits   int64 // of the backend that changed
}

// through measures one fault through one proxy.
func (f fault) through(ctx context.Context, p proxy) (outcome, error) {
	var backends []*backend
	var handlers []*delayed
	for range 3 {
		h := &delayed{}
		h.delay.Store(int64(time.Millisecond))
		b, err := newBackend(ctx, h, 0)
		if err != nil {
			return outcome{}, err
		}
		defer b.close()
		backends, handlers = append(backends, b), append(handlers, h)
	}
	running, err := p.start(ctx, backends)
	if err != nil {
		return outcome{}, err
	}
	defer running.stop()
	c := &clients{address: running.address, free: make(chan *lane, slowRate*int(slowPatience/time.Second))}
	defer c.close()
	c.send(ctx, slowWarm)
	handlers[1].delay.Store(int64(f.delay))
	if f.dead {
		backends[1].close()
	}
	before := handlers[1].hits.Load()
	o := c.send(ctx, slowRequests)
	o.hits = handlers[1].hits.Load() - before
	return o, context.Cause(ctx)
}

// clients send at a fixed rate, each request on a connection of its own.
type clients struct {
	address string
	free    chan *lane // connected, and not in use
}

// send sends n requests, and returns when all are over.
func (c *clients) send(ctx context.Context, n int) outcome {
	o := outcome{millis: make([]float64, n)}
	var failed atomic.Int64
	var out sync.WaitGroup
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * time.Second / slowRate)
		sleepUntil(ctx, due)
		out.Go(func() {
			l := c.take()
			status, err := l.do(ctx, http.MethodGet, "/items/7", slowPatience)
			took := time.Since(due)
			if err != nil || status != 200 {
				failed.Add(1)
				took = slowPatience
			}
			o.millis[i] = float64(took.Microseconds()) / 1000
			c.give(l)
		})
	}
	out.Wait()
	o.failed = int(failed.Load())
	return o
}

func (c *clients) take() *lane {
	select {
	case l := <-c.free:
		return l
	default:
		return &lane{address: c.address}
	}
}

func (c *clients) give(l *lane) {
	select {
	case c.free <- l:
	default:
		l.close()
	}
}

func (c *clients) close() {
	for len(c.free) > 0 {
		(<-c.free).close()
	}
}
