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

// errRoot tells what a fault lacks.
var errRoot = errors.New("it takes root, for network and mount namespaces: run the drill as root")

// network is one of its own, behind a link to this one.
type network struct {
	space    string // its namespace
	link     string // the end of its link that is in it
	at, from string // the addresses of the link's ends; from is the one in it
}

// connect makes a network, which is removed when the site closes. Those of sites that
// are open at one time need different numbers, below 60.
func (s *site) connect(ctx context.Context, number int) error {
	if os.Geteuid() != 0 {
		return errRoot
	}
	id := fmt.Sprintf("%d-%d", number, os.Getpid())
	n := &network{
		space: "drill" + id, link: "dt" + id, // of addresses for tests of networks: RFC 2544
		at: fmt.Sprintf("198.18.%d.%d", own(), 4*number+1), from: fmt.Sprintf("198.18.%d.%d", own(), 4*number+2),
	}
	here := "dh" + id
	if err := command(ctx, "ip", "netns", "add", n.space); err != nil {
		return err
	}
	s.ends = append(s.ends, func() {
		ctx := context.WithoutCancel(ctx)
		_ = command(ctx, "ip", "netns", "delete", n.space)
		_ = command(ctx, "ip", "link", "delete", here) // which would live as long as connections that do not end
	})
	for _, args := range [][]string{
		{"ip", "link", "add", here, "type", "veth", "peer", "name", n.link, "netns", n.space},
		{"ip", "address", "add", n.at + "/30", "dev", here},
		{"ip", "link", "set", here, "up"},
		{"ip", "-n", n.space, "address", "add", n.from + "/30", "dev", n.link},
		{"ip", "-n", n.space, "link", "set", n.link, "up"},
	} {
		if err := command(ctx, args...); err != nil {
			return err
		}
	}
	s.network = n
	return nil
}

// own is a number for addresses, so that drills do not meet that run at one time.
func own() int { return os.Getpid() % 256 }

// cut takes the network away: what is sent there is lost, and nothing comes from
// there, not even an end.
func (n *network) cut(ctx context.Context) error {
	return command(ctx, "ip", "-n", n.space, "link", "set", n.link, "down")
}

// command runs a program that sets something up.
func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput() //nolint:gosec // ours
	if err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// apart has the program listen where clients with a network of their own reach it.
func apart(ctx context.Context, s *site) error {
	if err := s.connect(ctx, 1); err != nil {
		return err
	}
	s.host, s.tls = s.network.at, true
	return nil
}

// vanish has clients read, over TCP and over TLS, and then cuts their network.
func vanish(ctx context.Context, s *site) error {
	for _, base := range []string{s.http, s.http, s.http, s.https, s.https} {
		conn, err := within(s.network.space, func() (net.Conn, error) { return ask(ctx, base, quiet) })
		if err != nil {
			return err
		}
		// They are told the first events before they vanish.
		if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
			return errors.Join(err, conn.Close())
		}
		s.drain(ctx, conn)
	}
	return s.network.cut(ctx)
}

// remote puts a backend that has a network of its own in the place of one that has not.
func remote(ctx context.Context, s *site) error {
	if err := s.connect(ctx, 2); err != nil {
		return err
	}
	b, err := within(s.network.space, func() (*backend, error) { return newBackend(s.network.from+":0", false) })
	if err != nil {
		return err
	}
	s.backends[0].close()
	s.backends[0], s.endpoints[0] = b, b.url()
	return nil
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
