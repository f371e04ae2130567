//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// target is a server to which subscribers connect.
type target struct {
	name    string
	address string
	secure  string // the address with TLS; "": none
	path    string // of what is subscribed to
	admin   string
	child   *child
	pids    []int // whose CPU and memory are counted
	one     *publisher
	lines   *publisher // of batches; of the floor the same
	times   int        // events that the floor writes for each request

	subscribers int   // without those that have a pace
	published   int64 // events since they came
}

// The data of an event, so that its frame has about 150 bytes on the wire.
const (
	dataSSE       = 116
	dataWebSocket = 27
)

func (s settings) dataSize() int {
	if s.kind == kindWebSocket {
		return dataWebSocket
	}
	return dataSSE
}

// startServer runs Fairlead with a topic.
func startServer(ctx context.Context, s settings) (*target, error) {
	dir, err := os.MkdirTemp("", "fan-")
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	all, err := freeAddresses(ctx, 3)
	if err != nil {
		return nil, err
	}
	t := &target{name: "fairlead", address: all[0], secure: all[1], admin: all[2], path: "/topics/fan"}
	file := filepath.Join(dir, "fairlead.yaml")
	if err := os.WriteFile(file, []byte(s.configuration(t)), 0o600); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if t.child, err = spawn("server", dir, s.server, "serve", "--config", file); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	t.pids = []int{t.child.cmd.Process.Pid}
	err = t.child.awaitListening(ctx, t.address)
	t.one = newPublisher(t.address, t.path, "text/plain", textBody(s.dataSize()))
	t.lines = newPublisher(t.address, t.path, "application/x-ndjson", linesBody(s.dataSize()))
	if err == nil {
		err = t.one.publish(ctx, time.Now(), 1) // creates the topic
	}
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// configuration is the server's file: its defaults but for the addresses, and
// the keys that are asked for.
func (s settings) configuration(t *target) string {
	text := fmt.Sprintf("http: %q\nhttps: %q\nadmin: %q\n", t.address, t.secure, t.admin)
	text += s.keys
	if s.heartbeat > 0 {
		text += "heartbeat: " + s.heartbeat.String() + "\n"
	}
	if s.retained > 0 {
		text += fmt.Sprintf("topics: [{match: \"**\", retain: {events: %d}}]\n", s.retained)
	}
	var keys []string
	if s.engine != "" {
		keys = append(keys, "engine: "+s.engine)
	}
	if s.flushDelay > 0 {
		keys = append(keys, "flush_delay: "+s.flushDelay.String())
	}
	if len(keys) > 0 {
		text += "fanout: {" + strings.Join(keys, ", ") + "}\n"
	}
	return text
}

// profiled runs a measurement while the server writes a CPU profile, if it is
// to; the profile costs it some percent.
func (s settings) profiled(server *target, measure func() error) error {
	if s.profile == "" {
		return measure()
	}
	file, err := filepath.Abs(s.profile)
	if err != nil {
		return err
	}
	if _, err := server.child.ask(order{Do: "profile", File: file}); err != nil {
		return err
	}
	if err := measure(); err != nil {
		return err
	}
	_, err = server.child.ask(order{Do: "profile"})
	return err
}

// startFloor runs the floor.
func startFloor(ctx context.Context) (*target, error) {
	all, err := freeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	t := &target{name: "floor", address: all[0], path: "/"}
	if t.child, err = self("floor", t.address); err != nil {
		return nil, err
	}
	t.pids = []int{t.child.cmd.Process.Pid}
	err = t.child.awaitListening(ctx, t.address)
	t.one = newPublisher(t.address, "/publish", "text/plain", floorBody)
	t.lines = t.one
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// frames makes the floor write so many frames of a size at once, at each so many
// requests.
func (t *target) frames(size, times, every int) error {
	t.times = times
	_, err := t.child.ask(order{Do: "frame", Bytes: size, Times: times, Every: every})
	return err
}

func (t *target) stop() {
	for _, p := range []*publisher{t.one, t.lines} {
		if p != nil {
			p.close()
		}
	}
	t.child.stop()
}
