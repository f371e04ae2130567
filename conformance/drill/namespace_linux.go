package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// vanishing is how many clients vanish.
const vanishing = 5

// errRoot tells what a fault lacks.
var errRoot = errors.New("it takes root, for network and mount namespaces: run the drill as root")

func rooted() error {
	if os.Geteuid() != 0 {
		return errRoot
	}
	return nil
}

// command runs a program that sets something up.
func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput() //nolint:gosec // ours
	if err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// names of the network namespace of clients that vanish, and of its link's ends.
func namespace() (space, here, there string) {
	id := fmt.Sprintf("%d", os.Getpid())
	return "drill" + id, "dh" + id, "dt" + id
}

// apart gives some clients a network of their own, and has the program listen
// where they reach it.
func apart(ctx context.Context, s *site) error {
	if err := rooted(); err != nil {
		return err
	}
	space, here, there := namespace()
	if err := command(ctx, "ip", "netns", "add", space); err != nil {
		return err
	}
	s.ends = append(s.ends, func() { _ = command(context.WithoutCancel(ctx), "ip", "netns", "delete", space) })
	const at, from = "198.51.100.9", "198.51.100.10"
	for _, args := range [][]string{
		{"ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", space},
		{"ip", "address", "add", at + "/30", "dev", here},
		{"ip", "link", "set", here, "up"},
		{"ip", "-n", space, "address", "add", from + "/30", "dev", there},
		{"ip", "-n", space, "link", "set", there, "up"},
	} {
		if err := command(ctx, args...); err != nil {
			return err
		}
	}
	s.host = at
	return nil
}

// vanish has clients read, and then takes their network away: what is sent to them
// is lost, and nothing comes from them, not even an end.
func vanish(ctx context.Context, s *site) error {
	space, _, there := namespace()
	var conns []net.Conn
	for range vanishing {
		conn, err := within(space, func() (net.Conn, error) { return ask(ctx, s.http, quiet) })
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		s.ends = append(s.ends, func() { _ = conn.Close() })
		// They are told the first events before they vanish.
		if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
			return err
		}
	}
	for _, conn := range conns {
		s.work.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			drain(conn)
		})
	}
	return command(ctx, "ip", "-n", space, "link", "set", there, "down")
}

// within does something in a network namespace. The thread that does it is in it for
// ever, and ends with its goroutine.
func within[T any](space string, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		var o outcome
		if o.err = enter(space); o.err == nil {
			o.value, o.err = do()
		}
		done <- o
	}()
	o := <-done
	return o.value, o.err
}

func enter(space string) error {
	f, err := os.Open("/run/netns/" + space) //nolint:gosec // a name of ours
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), syscall.CLONE_NEWNET)
}
