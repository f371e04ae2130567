package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ask opens a raw connection and asks for a topic's events over it.
func ask(ctx context.Context, base, topic string) (net.Conn, error) {
	scheme, address, _ := strings.Cut(base, "://")
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10) // a small one makes a reader slow sooner
	if scheme == "https" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whose certificate it is makes no difference here
	}
	if _, err := fmt.Fprintf(conn, "GET /topics/%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", topic, address); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

const busy = "drill/busy" // a topic of large events, for slow readers

// slowReader reads a few bytes a second of a topic with much more.
func slowReader(ctx context.Context, s *site) error {
	data := strings.Repeat("x", 16<<10)
	if err := s.publish(ctx, busy, data); err != nil {
		return err
	}
	conn, err := ask(ctx, s.http, busy)
	if err != nil {
		return err
	}
	s.ends = append(s.ends, func() { _ = conn.Close() })
	s.repeat(ctx, 100*time.Millisecond, func() error {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err := conn.Read(make([]byte, 64))
		return err
	})
	s.repeat(ctx, each, func() error { return s.publish(ctx, busy, data) })
	return nil
}

// descriptors is how many the program may have when there are too few of them: less
// than the hundred connections that it takes in any case, so that none is left.
const descriptors = "80"

// crowd has more clients connect than there are descriptors for.
func crowd(ctx context.Context, s *site) error {
	n, err := strconv.Atoi(descriptors)
	if err != nil {
		return err
	}
	for range n {
		conn, err := ask(ctx, s.http, quiet)
		if err != nil {
			continue // it was refused
		}
		s.drain(ctx, conn)
	}
	return nil
}

// drain reads what comes until the connection or ctx ends.
func (s *site) drain(ctx context.Context, conn net.Conn) {
	s.work.Go(func() {
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		_, _ = io.Copy(io.Discard, conn) // it is ended by either end
		_ = conn.Close()
	})
}
