package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	cpuRounds   = 12
	cpuLanes    = 32
	cpuRequests = 12_000 // each round, and a sixth of it once to warm up
)

// small answers with what a small API call does.
func small(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"c0ffee","name":"a small answer","tags":["of","an","api"]}`+"\n")
}

func measureCPU(ctx context.Context, proxies []proxy, out io.Writer) error {
	b, err := newBackend(ctx, http.HandlerFunc(small), 0)
	if err != nil {
		return err
	}
	defer b.close()
	var running []*process
	for _, p := range proxies {
		r, err := p.start(ctx, []*backend{b})
		if err != nil {
			return err
		}
		defer r.stop()
		if _, err := r.load(ctx, cpuRequests/6); err != nil {
			return err
		}
		running = append(running, r)
	}
	costs := make([][]float64, len(running)) // µs a request, by round
	for round := range cpuRounds {
		for i := range running {
			if round%2 == 1 {
				i = len(running) - 1 - i
			}
			cost, err := running[i].load(ctx, cpuRequests)
			if err != nil {
				return err
			}
			costs[i] = append(costs[i], float64(cost.Nanoseconds())/1000/cpuRequests)
		}
	}
	fmt.Fprintf(out, "\nCPU of the proxy's processes for a small GET; %d rounds of %d, %d connections.\n\n", cpuRounds, cpuRequests, cpuLanes)
	fmt.Fprintf(out, "| | µs, median | min–max | ratio to the %s, median | 95 %% interval | min–max |\n", running[0].name)
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- |")
	for i, r := range running {
		ratios := make([]float64, cpuRounds)
		for round := range ratios {
			ratios[round] = costs[i][round] / costs[0][round]
		}
		low, high := interval(ratios)
		fmt.Fprintf(out, "| %s | %.0f | %.0f–%.0f | %.2f | %.2f–%.2f | %.2f–%.2f |\n", r.name,
			quantile(costs[i], 0.5), slices.Min(costs[i]), slices.Max(costs[i]), quantile(ratios, 0.5), low, high, slices.Min(ratios), slices.Max(ratios))
	}
	return nil
}

// load sends n GETs over keep-alive connections, and returns the CPU time
// that the proxy took for them.
func (r *process) load(ctx context.Context, n int) (time.Duration, error) {
	lanes, errs := make([]*lane, cpuLanes), make([]error, cpuLanes)
	for i := range lanes {
		lanes[i] = &lane{address: r.address}
		defer lanes[i].close()
	}
	before, err := r.cpu()
	if err != nil {
		return 0, err
	}
	var out sync.WaitGroup
	for i, l := range lanes {
		out.Go(func() {
			for range n / cpuLanes {
				status, err := l.do(ctx, http.MethodGet, "/items/7", 5*time.Second)
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d", status)
				}
				if err = errors.Join(err, context.Cause(ctx)); err != nil {
					errs[i] = fmt.Errorf("%s: %w", r.name, err)
					return
				}
			}
		})
	}
	out.Wait()
	after, err := r.cpu()
	return after - before, errors.Join(err, errors.Join(errs...))
}

// quantile returns the value below which the share q of values is, between
// two of them by their distance.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// interval returns the 95 % bootstrap interval of the median.
func interval(values []float64) (low, high float64) {
	random := rand.New(rand.NewPCG(1, 2))
	medians, sample := make([]float64, 2000), make([]float64, len(values))
	for i := range medians {
		for j := range sample {
			sample[j] = values[random.IntN(len(values))]
		}
		medians[i] = quantile(sample, 0.5)
	}
	return quantile(medians, 0.025), quantile(medians, 0.975)
}
