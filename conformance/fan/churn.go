//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// churnRate is connects a second, and disconnects: 10,000 a minute.
const churnRate = 167

// measureChurn lets subscribers come and go for ten minutes, and compares the
// memory that the server holds in minutes 2 and 3 with that in minutes 9 and 10,
// or of a shorter duration the same parts.
func measureChurn(ctx context.Context, s settings, out io.Writer) error {
	if s.duration == 0 {
		s.duration = 10 * time.Minute
	}
	s.retained = 100 // so that what the topic retains does not grow meanwhile
	t, err := startServer(ctx, s)
	if err != nil {
		return err
	}
	a := &arena{settings: s, targets: []*target{t}}
	defer a.close()
	if err := a.connect(t, warm, order{}); err != nil {
		return err
	}
	if _, err := a.all(order{Do: "close", Group: t.name}); err != nil {
		return err
	}
	time.Sleep(time.Second)
	opened, err := descriptors(t.pids[0])
	if err != nil {
		return err
	}
	o := order{Do: "churn", Group: "churn", Address: t.address, Path: t.path, Source: "127.0.0.11", Rate: churnRate,
		Count: int(churnRate * s.duration.Seconds()), Hold: min(5*time.Second, s.duration/10)}
	if err := a.loads[0].tell(o); err != nil {
		return err
	}
	samples, err := sampleMemory(ctx, t, s.duration)
	if err != nil {
		return err
	}
	r, err := a.loads[0].hear()
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // the server sees the last ones go
	left, err := descriptors(t.pids[0])
	if err != nil {
		return err
	}
	mean := func(from, to float64) float64 {
		part := samples[int(from*float64(len(samples))):int(to*float64(len(samples)))]
		sum := 0.0
		for _, v := range part {
			sum += v
		}
		return sum / float64(max(1, len(part)))
	}
	early, late := mean(0.1, 0.3), mean(0.8, 1)
	fmt.Fprintf(out, "\n%d connects a second for %v, SSE and WebSocket by turns, each held for %v, a fourth of them cut off by RST; ten events a second.\n\n",
		churnRate, s.duration, o.Hold)
	fmt.Fprint(out, "| connects | memory in minutes 2 and 3 of 10, mean | in 9 and 10 | change | descriptors before | after |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n")
	fmt.Fprintf(out, "| %d | %.1f MiB | %.1f MiB | **%+.1f %%** | %d | %d |\n", r.Made, early/(1<<20), late/(1<<20), 100*(late/early-1), opened, left)
	return nil
}

// sampleMemory publishes ten events a second, and returns what the server has
// resident ten times a second.
func sampleMemory(ctx context.Context, t *target, during time.Duration) ([]float64, error) {
	var samples []float64
	start := time.Now()
	for i := 1; time.Since(start) < during; i++ {
		if err := t.one.publish(ctx, time.Now(), 1); err != nil {
			return nil, err
		}
		n, err := rss(t.pids)
		if err != nil {
			return nil, err
		}
		samples = append(samples, float64(n))
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Until(start.Add(time.Duration(i) * 100 * time.Millisecond))):
		}
	}
	return samples, nil
}
