//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// measureIdle takes what subscribers hold that get nothing, after a collection.
func measureIdle(ctx context.Context, s settings, out io.Writer) error {
	fmt.Fprint(out, "\nMemory of a subscriber that gets nothing, in bytes, after a collection. h2: streams without TLS.\n\n")
	fmt.Fprintln(out, "| | subscribers | resident | heap in use | stacks | goroutines | kernel, both ends, by half |")
	fmt.Fprintln(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, k := range []struct {
		kind string
		n    int
	}{{kindSSE, 10_000}, {kindWebSocket, 10_000}, {kindTLS, 2_000}, {kindH2, 2_000}} {
		if s.subscribers > 0 {
			k.n = s.subscribers
		}
		if err := idleOf(ctx, s, out, k.kind, k.n); err != nil {
			return fmt.Errorf("%s: %w", k.kind, err)
		}
	}
	return nil
}

// warm is how many subscribers come and go first, so that what a server makes
// once does not count.
const warm = 64

func idleOf(ctx context.Context, s settings, out io.Writer, kind string, n int) error {
	t, err := startServer(ctx, s)
	if err != nil {
		return err
	}
	a := &arena{settings: s, targets: []*target{t}}
	defer a.close()
	o := order{Kind: kind}
	if kind == kindTLS {
		o.Address = t.secure
	}
	if err := a.connect(t, warm, o); err != nil {
		return err
	}
	if _, err := a.all(order{Do: "close", Group: t.name}); err != nil {
		return err
	}
	before, kernelBefore, err := settled(ctx, t)
	if err != nil {
		return err
	}
	if err := a.connect(t, n, o); err != nil {
		return err
	}
	after, kernelAfter, err := settled(ctx, t)
	if err != nil {
		return err
	}
	r, err := a.all(order{Do: "count", Group: t.name})
	if err == nil && r.Lost > 0 {
		err = fmt.Errorf("%d of %d connections were lost", r.Lost, n)
	}
	if err != nil {
		return err
	}
	each := func(after, before int64) int64 { return (after - before) / int64(n) }
	fmt.Fprintf(out, "| %s | %d | **%d** | %d | %d | %.1f | %d |\n", kind, n, each(after.RSS, before.RSS), each(after.Heap, before.Heap),
		each(after.Stacks, before.Stacks), float64(after.Goroutines-before.Goroutines)/float64(n), each(kernelAfter, kernelBefore)/2)
	return nil
}

// settled returns what the server and the kernel hold when what had to be done
// is done.
func settled(ctx context.Context, t *target) (r report, kernel int64, err error) {
	select {
	case <-ctx.Done():
		return r, 0, context.Cause(ctx)
	case <-time.After(2 * time.Second):
	}
	if r, err = t.child.ask(order{Do: "memory"}); err != nil {
		return r, 0, err
	}
	kernel, err = kernelMemory()
	return r, kernel, err
}

// kernelMemory is the slab's, where sockets and descriptors are, and what TCP
// says its buffers hold, of the whole machine.
func kernelMemory() (int64, error) {
	slab, err := field("/proc/meminfo", "Slab:")
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "TCP:")
	_, after, _ = strings.Cut(after, "mem ")
	line, _, _ := strings.Cut(after, "\n")
	pages, err := strconv.ParseInt(line, 10, 64)
	return slab<<10 + pages*int64(os.Getpagesize()), err
}
