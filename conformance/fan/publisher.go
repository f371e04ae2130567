//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// publisher publishes over one kept connection of HTTP/1.1, one request at a
// time. It connects when it must.
type publisher struct {
	address string
	head    string // of each request, to the value of Content-Length
	body    func(due time.Time, events int) []byte

	conn   net.Conn // nil: none
	reader *bufio.Reader
}

func newPublisher(address, path, contentType string, body func(time.Time, int) []byte) *publisher {
	head := "POST " + path + " HTTP/1.1\r\nHost: " + address + "\r\nContent-Type: " + contentType + "\r\nContent-Length: "
	return &publisher{address: address, head: head, body: body}
}

// publish sends one request of so many events and reads its answer.
func (p *publisher) publish(ctx context.Context, due time.Time, events int) error {
	if p.conn == nil {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", p.address)
		if err != nil {
			return fmt.Errorf("publisher: %w", err)
		}
		p.conn, p.reader = conn, bufio.NewReader(conn)
	}
	body := p.body(due, events)
	request := append(strconv.AppendInt([]byte(p.head), int64(len(body)), 10), "\r\n\r\n"...)
	_ = p.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := p.conn.Write(append(request, body...)); err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	res, err := http.ReadResponse(p.reader, &http.Request{Method: http.MethodPost})
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %s", res.StatusCode, answer)
	}
	if err != nil {
		return fmt.Errorf("publisher: %s: %w", p.address, err)
	}
	if res.Close {
		p.close()
	}
	return nil
}

func (p *publisher) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// paced publishes one request of so many events at each interval until it has
// made n, however late it is. Each event says when it was due.
func (p *publisher) paced(ctx context.Context, n, events int, interval time.Duration) error {
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * interval)
		time.Sleep(time.Until(due))
		if err := p.publish(ctx, due, events); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// The bodies of requests: an event of text, lines of JSON, and what the floor
// takes, which ends in a newline.
func textBody(size int) func(time.Time, int) []byte {
	return func(due time.Time, _ int) []byte { return dataOf(due, size) }
}

func linesBody(size int) func(time.Time, int) []byte {
	return func(due time.Time, events int) []byte {
		line := append(append([]byte{'"'}, dataOf(due, size-2)...), "\"\n"...)
		return bytes.Repeat(line, events)
	}
}

func floorBody(due time.Time, _ int) []byte { return append(dataOf(due, 0), '\n') }
