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
	waves int // POSTs of each lane
	// apart lets each lane go by its own last answer, so that connections
	// change hands and few are idle for as long as the backend bears.
	apart bool
	// together runs the proxies at the same time, their waves one after the
	// other, since what is waited for is mostly the idle time.
	together bool
}

// races are 5,000 POSTs each, from the mildest to the worst.
var races = []race{
	{idle: 50 * time.Millisecond, lanes: 20, waves: 250, apart: true},
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
	// longestRace ends a race whose POSTs are answered late; it then has fewer.
	longestRace = 2 * time.Minute
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
		way := "in waves"
		if race.apart {
			way = "each lane by its own clock"
		}
		fmt.Fprintf(out, "\nThe backend closes after %v idle; %d lanes, %s.\n\n", race.idle, race.lanes, way)
		fmt.Fprintln(out, "| | POSTs | failures per 10,000 | answered 5xx | dropped | failed but executed | executed twice | connections per 100 POSTs |")
		fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")
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
			fmt.Fprintf(out, "| %s | %d | %.1f | %d | %d | %d | %d | %.0f |\n", p.name, t.posts, float64(t.refused+t.broken)*10_000/float64(t.posts),
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

// run sends the POSTs to address, and reads the ledger.
func (r race) run(ctx context.Context, address string, book *ledger) tally {
	ctx, cancel := context.WithTimeout(ctx, longestRace)
	defer cancel()
	c := &count{ledger: book}
	lanes := make([]*lane, r.lanes)
	for i := range lanes {
		lanes[i] = &lane{address: address}
		defer lanes[i].close()
	}
	if r.apart {
		r.apiece(ctx, lanes, c)
	} else {
		r.inWaves(ctx, lanes, c)
	}
	book.mu.Lock()
	defer book.mu.Unlock()
	for _, n := range book.executed {
		if n > 1 {
			c.twice++
		}
	}
	return c.tally
}

// inWaves sends from all lanes at once, the idle time after the mean of the
// last answers.
func (r race) inWaves(ctx context.Context, lanes []*lane, c *count) {
	due := time.Now()
	for wave := range r.waves {
		took := make([]time.Duration, len(lanes))
		var out sync.WaitGroup
		for i, l := range lanes {
			out.Go(func() {
				took[i] = c.post(ctx, l, due, fmt.Sprintf("/%d/%d", wave, i)).Sub(due)
			})
		}
		out.Wait()
		var sum time.Duration
		for _, t := range took {
			sum += t
		}
		due = due.Add(sum/time.Duration(len(lanes)) + r.idle)
	}
}

// apiece sends from each lane the idle time after its own last answer.
func (r race) apiece(ctx context.Context, lanes []*lane, c *count) {
	var out sync.WaitGroup
	for i, l := range lanes {
		out.Go(func() {
			due := time.Now().Add(r.idle * time.Duration(i) / time.Duration(len(lanes)))
			for wave := range r.waves {
				due = c.post(ctx, l, due, fmt.Sprintf("/%d/%d", wave, i)).Add(r.idle)
			}
		})
	}
	out.Wait()
}

// count is a tally in the making.
type count struct {
	ledger *ledger

	mu sync.Mutex
	tally
}

// post sends one POST when it is due, ± jitter, and returns when it was over.
func (c *count) post(ctx context.Context, l *lane, due time.Time, path string) time.Time {
	sleepUntil(ctx, due.Add(time.Duration(rand.Int64N(int64(2*jitter)))-jitter))
	if ctx.Err() != nil {
		return due
	}
	status, err := l.do(ctx, http.MethodPost, path, stalePatience)
	over := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts++
	if err == nil && status == 200 {
		return over
	}
	if err != nil {
		c.broken++
	} else {
		c.refused++
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if c.ledger.executed[path] > 0 {
		c.executed++
	}
	return over
}
