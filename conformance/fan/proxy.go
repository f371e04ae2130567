//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What a turn through the proxy is.
const (
	connections = 16
	requests    = 60 * connections
)

// runOrigin serves args[0] until there are no more orders: 128 bytes for a GET, and
// nothing for what is posted, such as spans.
func runOrigin(args []string) error {
	if len(args) != 1 {
		return errors.New("wants an address")
	}
	l, err := net.Listen("tcp", args[0]) //nolint:noctx // the process's own life
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(originate), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // until the process ends
	return serveOrders(func(o order) (report, error) { return report{}, fmt.Errorf("there is no order %q", o.Do) })
}

var small = strings.Repeat("0123456789abcde\n", 8)

func originate(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		_, _ = io.Copy(io.Discard, r.Body) // who sends it sees how that ends
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, small)
}

// startOrigin runs what requests are forwarded to.
func startOrigin(ctx context.Context) (*target, error) {
	all, err := freeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	t := &target{name: "origin", address: all[0]}
	if t.child, err = self("origin", t.address); err != nil {
		return nil, err
	}
	t.pids = []int{t.child.cmd.Process.Pid}
	if err := t.child.awaitListening(ctx, t.address); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// watchProxy is of requests that are forwarded to the origin. They are not logged,
// which would cost both as much.
func (s settings) watchProxy(ctx context.Context, origin string, keys [2]string, first int) (*watched, error) {
	for i := range keys {
		keys[i] += fmt.Sprintf("upstreams: {origin: {endpoints: [%q]}}\nroutes: [{path: /small, upstream: origin, log: 0}]\n", "http://"+origin)
	}
	both, err := s.startBoth(ctx, keys, first, func(*target) error { return nil })
	if err != nil {
		return nil, err
	}
	asking := make(map[*target][]*getter)
	for _, t := range both {
		for range connections {
			asking[t] = append(asking[t], &getter{address: t.address, path: "/small"})
		}
	}
	return &watched{
		without: both[0], with: both[1],
		cost: func(t *target) (float64, error) {
			before, err := cpu(t.pids)
			if err != nil {
				return 0, err
			}
			if err := getAll(ctx, asking[t], requests/connections); err != nil {
				return 0, err
			}
			after, err := cpu(t.pids)
			return float64((after - before).Nanoseconds()) / 1000 / requests, err
		},
		close: func() {
			for _, all := range asking {
				for _, g := range all {
					g.close()
				}
			}
			stopAll(both[:])
		},
	}, nil
}

// getAll has each make so many requests, all at the same time.
func getAll(ctx context.Context, all []*getter, each int) error {
	var asking sync.WaitGroup
	errs := make([]error, len(all))
	for i, g := range all {
		asking.Go(func() { errs[i] = g.get(ctx, each) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

// getter makes requests over one kept connection of HTTP/1.1, one at a time. It
// connects when it must.
type getter struct {
	address, path string

	conn   net.Conn // nil: none
	reader *bufio.Reader
}

func (g *getter) get(ctx context.Context, n int) error {
	request := []byte("GET " + g.path + " HTTP/1.1\r\nHost: " + g.address + "\r\n\r\n")
	for range n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := g.one(ctx, request); err != nil {
			return fmt.Errorf("request: %s: %w", g.address, err)
		}
	}
	return nil
}

func (g *getter) one(ctx context.Context, request []byte) error {
	if g.conn == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", g.address)
		if err != nil {
			return err
		}
		g.conn, g.reader = conn, bufio.NewReader(conn)
	}
	_ = g.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := g.conn.Write(request); err != nil {
		return err
	}
	res, err := http.ReadResponse(g.reader, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(answer) != small) {
		err = fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	if err == nil && res.Close {
		g.close() // it has reached its age
	}
	return err
}

func (g *getter) close() {
	if g.conn != nil {
		g.conn.Close()
		g.conn = nil
	}
}
