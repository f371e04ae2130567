//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// order is what a child is told, a line of JSON on its standard input.
type order struct {
	Do    string `json:"do"`
	Group string `json:"group,omitempty"` // of subscribers: those of one target

	// connect
	Kind    string `json:"kind,omitempty"`
	Address string `json:"address,omitempty"`
	Path    string `json:"path,omitempty"`
	Source  string `json:"source,omitempty"` // the loopback address to connect from
	Count   int    `json:"count,omitempty"`
	Receive int    `json:"receive,omitempty"` // SO_RCVBUF; 0: the system's
	Pace    int    `json:"pace,omitempty"`    // bytes a second that are read of each; 0: all, -1: none

	// await
	Events int64         `json:"events,omitempty"` // that each subscriber has got, from the first on
	Within time.Duration `json:"within,omitempty"`

	// frame
	Bytes int `json:"bytes,omitempty"`
	Times int `json:"times,omitempty"` // that a write sends the frame
	Every int `json:"every,omitempty"` // requests for each of which the floor writes; 0: 1

	// churn
	Rate int           `json:"rate,omitempty"` // connects a second, Count in all
	Hold time.Duration `json:"hold,omitempty"`

	// profile
	File string `json:"file,omitempty"` // "": the end of it

	// unsent
	Ports []int `json:"ports,omitempty"`
}

// report is a child's answer, a line of JSON on its descriptor 3.
type report struct {
	Error string `json:"error,omitempty"`

	Deliveries int64            `json:"deliveries,omitempty"`
	Bytes      int64            `json:"bytes,omitempty"`
	Quiet      int64            `json:"quiet,omitempty"` // reads without an event
	Lost       int64            `json:"lost,omitempty"`  // connections that the server ended
	Delays     map[uint16]int64 `json:"delays,omitempty"`
	Ports      []int            `json:"ports,omitempty"`
	Made       int64            `json:"made,omitempty"`

	RSS        int64 `json:"rss,omitempty"`
	Heap       int64 `json:"heap,omitempty"`
	Stacks     int64 `json:"stacks,omitempty"`
	Goroutines int64 `json:"goroutines,omitempty"`
	Unsent     int   `json:"unsent,omitempty"`
}

// serveOrders answers the orders of the process that started this one until it
// has no more.
func serveOrders(do func(order) (report, error)) error {
	out := json.NewEncoder(os.NewFile(3, "replies"))
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		r, err := do(o)
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return in.Err()
}

// patience bounds how long a child may take for an order.
const patience = 2 * time.Minute

// child is a process that runs.
type child struct {
	name    string
	cmd     *exec.Cmd
	orders  *os.File
	replies *os.File
	lines   *bufio.Reader
	dir     string // its own, removed with it; "": none
	log     head
	ended   chan struct{}
	sockets int // a load's
}

// head keeps the beginning of what a child writes, at most 16 KiB. What goes
// wrong at the start stands there.
type head struct{ text bytes.Buffer }

// Write never fails.
func (h *head) Write(p []byte) (int, error) {
	h.text.Write(p[:min(len(p), 16<<10-h.text.Len())])
	return len(p), nil
}

// spawn starts a program that takes orders. It ends with stop.
func spawn(name, dir, program string, args ...string) (*child, error) {
	in, orders, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer in.Close()
	replies, out, err := os.Pipe()
	if err != nil {
		orders.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer out.Close()
	c := &child{name: name, dir: dir, orders: orders, replies: replies, lines: bufio.NewReader(replies), ended: make(chan struct{})}
	c.cmd = exec.Command(program, args...) //nolint:gosec,noctx // this program, or the server; stop ends it
	c.cmd.Stdin, c.cmd.Stderr = in, &c.log
	c.cmd.ExtraFiles = []*os.File{out}
	c.cmd.Env = append(os.Environ(), "FAN_PROBE=1")
	if dir != "" {
		c.cmd.Env = append(c.cmd.Env, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_STATE_HOME="+dir)
	}
	if err := c.start(); err != nil {
		orders.Close()
		replies.Close()
		return nil, err
	}
	return c, nil
}

// start runs the command in a process group of its own.
func (c *child) start() error {
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	go func() {
		_ = c.cmd.Wait() // it is told to end, and how it does matters to nobody
		close(c.ended)
	}()
	return nil
}

// self starts this program again, as one of children.
func self(args ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	return spawn(args[0], "", program, args...)
}

// tell sends an order; hear reads its report. Only one goroutine may use them.
func (c *child) tell(o order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if _, err := c.orders.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, o.Do, c.blame(err))
	}
	return nil
}

func (c *child) hear() (report, error) {
	var r report
	_ = c.replies.SetReadDeadline(time.Now().Add(patience)) // a pipe has deadlines
	line, err := c.lines.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("%s: %w", c.name, c.blame(err))
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s: report: %w", c.name, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s", c.name, r.Error)
	}
	return r, nil
}

func (c *child) ask(o order) (report, error) {
	if err := c.tell(o); err != nil {
		return report{}, err
	}
	return c.hear()
}

// blame adds what a child wrote before it ended.
func (c *child) blame(err error) error {
	select {
	case <-c.ended:
		return fmt.Errorf("%w; it ended, and wrote:\n%s", err, c.log.text.String())
	case <-time.After(100 * time.Millisecond):
		return err
	}
}

// stop ends the child and those that it started, and waits for it.
func (c *child) stop() {
	if c.orders != nil {
		c.orders.Close()
		c.replies.Close()
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-c.ended:
	case <-time.After(time.Second):
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // the group it leads: what is left of it
	<-c.ended
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// awaitListening returns when the address takes connections.
func (c *child) awaitListening(ctx context.Context, address string) error {
	var dialer net.Dialer
	for range 500 {
		if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case <-c.ended:
			return fmt.Errorf("%s: it ended instead of serving, and wrote:\n%s", c.name, c.log.text.String())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: it does not listen on %s", c.name, address)
}

// freeAddresses returns loopback addresses that nobody listens on.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	var listening net.ListenConfig
	all := make([]string, n)
	for i := range all {
		l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("address: %w", err)
		}
		defer l.Close() // after the last, so that they differ
		all[i] = l.Addr().String()
	}
	return all, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

var errClosed = errors.New("the server closed it")
