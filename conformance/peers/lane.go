package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// lane is a client with one connection, that never sends anything twice. It
// connects when it must.
type lane struct {
	address string

	conn   net.Conn
	reader *bufio.Reader
}

// do sends a request and returns the status of its answer, which it has read
// to the end. After an error the connection is closed.
func (l *lane) do(ctx context.Context, method, path string, patience time.Duration) (status int, err error) {
	deadline := time.Now().Add(patience)
	if l.conn == nil {
		dialer := net.Dialer{Deadline: deadline}
		if l.conn, err = dialer.DialContext(ctx, "tcp", l.address); err != nil {
			l.conn = nil
			return 0, fmt.Errorf("lane: %w", err)
		}
		l.reader = bufio.NewReader(l.conn)
	}
	_ = l.conn.SetDeadline(deadline)
	again, status, err := l.exchange(method, path)
	if err != nil || !again {
		l.close()
	}
	return status, err
}

// exchange is a request and its answer; again tells that the connection can
// be used again.
func (l *lane) exchange(method, path string) (again bool, status int, err error) {
	body := ""
	if method == http.MethodPost {
		body = "a small body, as an API call's"
	}
	if _, err := fmt.Fprintf(l.conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, l.address, len(body), body); err != nil {
		return false, 0, fmt.Errorf("lane: %w", err)
	}
	res, err := http.ReadResponse(l.reader, &http.Request{Method: method})
	if err != nil {
		return false, 0, fmt.Errorf("lane: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return false, 0, fmt.Errorf("lane: %w", err)
	}
	return !res.Close, res.StatusCode, nil
}

func (l *lane) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn, l.reader = nil, nil
	}
}

// sleepUntil returns early when ctx ends.
func sleepUntil(ctx context.Context, t time.Time) {
	select {
	case <-time.After(time.Until(t)):
	case <-ctx.Done():
	}
}
