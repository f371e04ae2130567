package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a proxy that runs.
type process struct {
	name    string
	address string
	cmd     *exec.Cmd
	dir     string
	log     head
	ended   chan struct{}
}

// head keeps the beginning of what a proxy writes, at most 16 KiB. What goes
// wrong at the start stands there.
type head struct{ text bytes.Buffer }

// Write never fails.
func (h *head) Write(p []byte) (int, error) {
	h.text.Write(p[:min(len(p), 16<<10-h.text.Len())])
	return len(p), nil
}

// start runs the proxy in front of the backends until stop, and returns when
// it accepts connections.
func (p proxy) start(ctx context.Context, backends []*backend) (*process, error) {
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	r := &process{name: p.name, dir: dir, ended: make(chan struct{})}
	if err := r.start(ctx, p, backends); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := r.awaitListening(ctx); err != nil {
		r.stop()
		return nil, fmt.Errorf("%s: %w; it wrote:\n%s", p.name, err, r.log.text.String())
	}
	return r, nil
}

func (r *process) start(ctx context.Context, p proxy, backends []*backend) error {
	if err := os.Chmod(r.dir, 0o755); err != nil { //nolint:gosec // nginx's workers run as another user
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	s := setup{Address: address, dir: r.dir}
	for _, b := range backends {
		s.Backends = append(s.Backends, b.address)
	}
	config, err := p.configure(s)
	if err != nil {
		return err
	}
	r.address = address
	r.cmd = exec.Command(p.program, p.args(s, config)...) //nolint:gosec,noctx // the table's own; stop ends it with care for its children
	r.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+r.dir, "XDG_DATA_HOME="+r.dir)
	r.cmd.Stderr = &r.log
	r.cmd.WaitDelay = time.Second
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that workers can be ended with it
	if err := r.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = r.cmd.Wait() // it is told to end, and how it does matters to nobody
		close(r.ended)
	}()
	return nil
}

// awaitListening returns when the proxy accepts connections. It is asked for
// nothing, so that it knows nothing of its backends when the first request comes.
func (r *process) awaitListening(ctx context.Context) error {
	var dialer net.Dialer
	for range 500 {
		if c, err := dialer.DialContext(ctx, "tcp", r.address); err == nil {
			return c.Close()
		}
		select {
		case <-r.ended:
			return fmt.Errorf("it ended instead of serving")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("it does not listen on %s", r.address)
}

// stop ends the proxy and its workers, and waits for them.
func (r *process) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-r.ended:
	case <-time.After(3 * time.Second):
	}
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // the group it leads: what is left of it
	<-r.ended
	_ = os.RemoveAll(r.dir)
}

// cpu returns the user and system time of the process and its children.
func (r *process) cpu() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("cpu: %w", err)
	}
	var sum time.Duration
	found := false
	for _, path := range stats {
		text, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil {
			continue // ended in between
		}
		s, err := parseStat(string(text))
		if err != nil {
			return 0, err
		}
		if s.pid == r.cmd.Process.Pid || s.parent == r.cmd.Process.Pid {
			sum += s.cpu
			found = true
		}
	}
	if !found {
		return 0, fmt.Errorf("cpu: %s has ended", r.name)
	}
	return sum, nil
}

// stat is what is of use in /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration
}

// tick is the unit of /proc/PID/stat, USER_HZ, the same on all Linux machines
// but Alpha.
const tick = 10 * time.Millisecond

// parseStat reads /proc/PID/stat (proc(5)): the name in parentheses may
// contain anything, so fields are counted after the last one.
func parseStat(text string) (stat, error) {
	number, _, opened := strings.Cut(text, " (")
	closing := strings.LastIndexByte(text, ')')
	if !opened || closing < 0 {
		return stat{}, fmt.Errorf("cpu: %q is no line of /proc/PID/stat", text)
	}
	fields := strings.Fields(text[closing+1:]) // from the third on, the state
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("cpu: %q has too few fields", text)
	}
	var n [4]int
	for i, field := range []string{number, fields[1], fields[11], fields[12]} {
		var err error
		if n[i], err = strconv.Atoi(field); err != nil {
			return stat{}, fmt.Errorf("cpu: /proc/PID/stat: %w", err)
		}
	}
	return stat{pid: n[0], parent: n[1], cpu: time.Duration(n[2]+n[3]) * tick}, nil
}
