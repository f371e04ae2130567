//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// measureRecords moves a thousand records by as many unary calls, one after the
// other and many at one time, and by one server stream, on a near and a far link.
func measureRecords(ctx context.Context, s settings, out io.Writer) error {
	const records = 1_000
	fmt.Fprintf(out, "\nThe time that %d records take, from Fairlead, over one channel; the median of %d.\n\n", records, 5)
	fmt.Fprint(out, "| round trip | a call after the other | 90 calls at one time | one stream |\n| ---: | ---: | ---: | ---: |\n")
	for _, far := range []time.Duration{0, 20 * time.Millisecond} {
		fairlead, err := launch(ctx, s.server, "serve", "--http", "127.0.0.1:0", "--admin", "")
		if err != nil {
			return err
		}
		err = func() error {
			defer fairlead.stop()
			if err := fill(ctx, fairlead); err != nil {
				return err
			}
			link, err := newLink(fairlead.address, far/2)
			if err != nil {
				return err
			}
			defer link.close()
			_ = fairlead.conn.Close()
			if fairlead.conn, err = dial(link.address()); err != nil {
				return err
			}
			var row [3]float64
			for i, do := range []func() error{
				func() error { return crowd(1, records, func() error { return publishOne(ctx, fairlead) }) },
				func() error { return crowd(90, records/90, func() error { return publishOne(ctx, fairlead) }) },
				func() error { return fairlead.subscribe(ctx, "calls", records) },
			} {
				if row[i], err = typical(5, do); err != nil {
					return err
				}
			}
			fmt.Fprintf(out, "| %v | %.0f ms | %.0f ms | %.0f ms |\n", far, row[0], row[1], row[2])
			return nil
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// typical returns the median time of it, in ms.
func typical(times int, do func() error) (float64, error) {
	var all []float64
	for range times {
		start := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		all = append(all, float64(time.Since(start).Microseconds())/1000)
	}
	median, _, _ := middle(all)
	return median, nil
}

// link forwards connections, and holds everything back for a while.
type link struct {
	net.Listener

	to    string
	delay time.Duration
	group sync.WaitGroup
	mu    sync.Mutex
	open  []net.Conn
}

func newLink(to string, delay time.Duration) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed with the link
	if err != nil {
		return nil, err
	}
	k := &link{Listener: l, to: to, delay: delay}
	k.group.Go(k.accept)
	return k, nil
}

func (k *link) address() string { return k.Addr().String() }

func (k *link) accept() {
	for {
		near, err := k.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", k.to) //nolint:noctx // closed with the link
		if err != nil {
			_ = near.Close()
			continue
		}
		k.mu.Lock()
		k.open = append(k.open, near, far)
		k.mu.Unlock()
		k.group.Go(func() { k.forward(near, far) })
		k.group.Go(func() { k.forward(far, near) })
	}
}

// held is what is on its way.
type held struct {
	due   time.Time
	bytes []byte
}

// forward reads at once and writes when it is due; at most 1,024 reads are on
// their way.
func (k *link) forward(from, to net.Conn) {
	way := make(chan held, 1024)
	k.group.Go(func() {
		for h := range way {
			time.Sleep(time.Until(h.due))
			if _, err := to.Write(h.bytes); err != nil {
				_ = from.Close() // which ends the reading
			}
		}
		_ = to.(*net.TCPConn).CloseWrite()
	})
	defer close(way)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			way <- held{time.Now().Add(k.delay), b[:n]}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			return
		}
	}
}

func (k *link) close() {
	_ = k.Listener.Close()
	k.mu.Lock()
	for _, c := range k.open {
		_ = c.Close()
	}
	k.mu.Unlock()
	k.group.Wait()
}
