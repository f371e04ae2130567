package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// race is how the stale race is run.
type race struct {
	idle  time.Duration // after which the backend closes
	lanes int
	waves int
	// together runs the proxies at the same time, their waves one after the
	// other, since what is waited for is mostly the idle time.
	together bool
}

// races are 5,000 POSTs each.
var races = []race{
	{idle: 50 * time.Millisecond, lanes: 20, waves: 250},
	{idle: time.Second, lanes: 50, waves: 100, together: true},
}

const (
	// hold is how long the backend takes: longer than a wave needs to come,
	// so that each of its requests has a connection of its own.
	hold = 10 * time.Millisecond
	// jitter is how far from the idle time, either way, a POST is sent.
	jitter = time.Millisecond
	// stalePatience is far beyond what an answer takes.
	stalePatience = 5 * time.Second
)

// ledger counts how often each request was executed.
type ledger struct {
	mu       sync.Mutex
	executed map[string]int
}

// ServeHTTP executes a request, which its path names.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		l.mu.Lock()
		l.executed[r.URL.Path]++
		l.mu.Unlock()
		time.Sleep(hold)
	}
	fmt.Fprintln(w, "done")
}

// tally is what became of the POSTs through one proxy.
type tally struct {
	posts    int
	refused  int // answered with another status than 200
	broken   int // not answered
	twice    int // executed more than once
	executed int // failed for the client, and executed
	opened   int64
}

func measureStale(ctx context.Context, proxies []proxy, out io.Writer) error {
	for _, race := range races {
		fmt.Fprintf(out, "\nThe backend closes after %v idle; %d POSTs through each, %d at once.\n\n", race.idle, race.lanes*race.waves, race.lanes)
		fmt.Fprintln(out, "| | failures per 10,000 | answered 5xx | dropped | failed but executed | executed twice | connections per 100 POSTs |")
		fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- |")
		tallies, errs := make([]tally, len(proxies)), make([]error, len(proxies))
		var running sync.WaitGroup
		for i, p := range proxies {
			running.Go(func() {
				sleepUntil(ctx, time.Now().Add(race.idle*time.Duration(i)/time.Duration(len(proxies))))
				tallies[i], errs[i] = race.through(ctx, p)
			})
			if !race.together {
				running.Wait()
			}
		}
		running.Wait()
		for i, p := range proxies {
			if errs[i] != nil {
				return errs[i]
			}
			t := tallies[i]
			fmt.Fprintf(out, "| %s | %.1f | %d | %d | %d | %d | %.0f |\n", p.name, float64(t.refused+t.broken)*10_000/float64(t.posts),
				t.refused, t.broken, t.executed, t.twice, float64(t.opened)*100/float64(t.posts))
		}
	}
	return nil
}

// through runs the race through one proxy.
func (r race) through(ctx context.Context, p proxy) (tally, error) {
	book := &ledger{executed: make(map[string]int)}
	b, err := newBackend(ctx, book, r.idle)
	if err != nil {
		return tally{}, err
	}
	defer b.close()
	running, err := p.start(ctx, []*backend{b})
	if err != nil {
		return tally{}, err
	}
	defer running.stop()
	before := b.opened.Load()
	t := r.run(ctx, running.address, book)
	t.opened = b.opened.Load() - before
	return t, context.Cause(ctx)
}

// run sends the waves to address, and reads the ledger.
func (r race) run(ctx context.Context, address string, book *ledger) tally {
	lanes := make([]*lane, r.lanes)
	for i := range lanes {
		lanes[i] = &lane{address: address}
		defer lanes[i].close()
	}
	var t tally
	due := time.Now()
	for wave := range r.waves {
		if ctx.Err() != nil {
			break
		}
		t.posts += r.lanes
		var mu sync.Mutex
		var answered time.Duration // since due, of all lanes together
		var out sync.WaitGroup
		for i, l := range lanes {
			out.Go(func() {
				sleepUntil(ctx, due.Add(time.Duration(rand.Int64N(int64(2*jitter)))-jitter))
				path := fmt.Sprintf("/%d/%d", wave, i)
				status, err := l.do(ctx, http.MethodPost, path, stalePatience)
				mu.Lock()
				defer mu.Unlock()
				answered += time.Since(due)
				if err == nil && status == 200 {
					return
				}
				if err != nil {
					t.broken++
				} else {
					t.refused++
				}
				book.mu.Lock()
				defer book.mu.Unlock()
				if book.executed[path] > 0 {
					t.executed++
				}
			})
		}
		out.Wait()
		due = due.Add(answered/time.Duration(r.lanes) + r.idle)
	}
	book.mu.Lock()
	defer book.mu.Unlock()
	for _, n := range book.executed {
		if n > 1 {
			t.twice++
		}
	}
	return t
}
