//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

// server is a process that serves fairlead.v1.Topics, and a channel to it.
type server struct {
	cmd     *exec.Cmd
	address string
	conn    *grpc.ClientConn
}

// launch starts a program that prints where it listens as a line
// "http http://ADDRESS", and "ready".
func launch(ctx context.Context, program string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(ctx, program, args...)} //nolint:gosec // this program, or the server
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "http http://"); ok {
			s.address = url
		}
		if lines.Text() == "ready" {
			s.conn, err = dial(s.address)
			return s, err
		}
	}
	s.stop()
	return nil, fmt.Errorf("server: %s did not start", program)
}

// both starts Fairlead and its twin.
func both(ctx context.Context, program string) (fairlead, bare *server, err error) {
	if fairlead, err = launch(ctx, program, "serve", "--http", "127.0.0.1:0", "--admin", ""); err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err == nil {
		bare, err = launch(ctx, self, "bare")
	}
	if err != nil {
		fairlead.stop()
		return nil, nil, err
	}
	return fairlead, bare, nil
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (s *server) stop() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait() // killed
}

// cpu returns what the process's threads have run, in sum.
func (s *server) cpu() (time.Duration, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil || len(paths) == 0 {
		return 0, errors.New("cpu: the process has ended")
	}
	var sum time.Duration
	for _, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // of /proc
		if err != nil {
			continue // the thread ended in between
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cpu: %s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// costs returns what do cost the process, in µs for each of n.
func (s *server) costs(n int, do func() error) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return float64((after - before).Nanoseconds()) / 1000 / float64(n), err
}

// publish makes a call of the topic's events.
func (s *server) publish(ctx context.Context, topic string, events ...*fairleadv1.Event) error {
	return s.conn.Invoke(ctx, "/fairlead.v1.Topics/Publish", &fairleadv1.PublishRequest{Topic: topic, Events: events}, new(fairleadv1.PublishResponse))
}

// subscribe reads n events of the topic from its beginning.
func (s *server) subscribe(ctx context.Context, topic string, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/fairlead.v1.Topics/Subscribe")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&fairleadv1.SubscribeRequest{Topic: topic, After: "earliest"}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for n > 0 {
		var m fairleadv1.SubscribeResponse
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		if m.GetEvent() != nil {
			n--
		}
	}
	return nil
}
