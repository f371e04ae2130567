//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// What subscribers may be.
const (
	kindSSE       = "sse"
	kindWebSocket = "websocket"
)

// subscriber is a connection that reads events.
type subscriber struct {
	fd    int
	group *group
	port  int // of this end

	// Where it is in an event's time: digits read, 0 outside of one.
	read int
	time int64
}

// subscribe connects and reads the head of the response. The descriptor is
// non-blocking when it returns.
func subscribe(g *group, o order) (*subscriber, error) {
	fd, err := dial(o)
	if err != nil {
		return nil, err
	}
	s := &subscriber{fd: fd, group: g}
	if err := s.handshake(o); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	return s, nil
}

func dial(o order) (fd int, err error) {
	at, err := net.ResolveTCPAddr("tcp4", o.Address)
	if err != nil {
		return 0, err
	}
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd)
		}
	}()
	if o.Receive > 0 {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, o.Receive); err != nil {
			return 0, fmt.Errorf("receive buffer: %w", err)
		}
	}
	if o.Source != "" {
		const ipBindAddressNoPort = 24 // the port is chosen for the pair of addresses
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
		from := &syscall.SockaddrInet4{Addr: [4]byte(net.ParseIP(o.Source).To4())}
		if err := syscall.Bind(fd, from); err != nil {
			return 0, fmt.Errorf("bind: %w", err)
		}
	}
	wait := syscall.NsecToTimeval(int64(10 * time.Second))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait)
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte(at.IP.To4()), Port: at.Port}); err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// handshake sends the request and reads until the response's head is over.
func (s *subscriber) handshake(o order) error {
	request := "GET " + o.Path + " HTTP/1.1\r\nHost: " + o.Address + "\r\n"
	want := "HTTP/1.1 200"
	if o.Kind == kindWebSocket {
		request += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		want = "HTTP/1.1 101"
	} else {
		request += "Accept: text/event-stream\r\n\r\n"
	}
	if _, err := syscall.Write(s.fd, []byte(request)); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	var buffer [4 << 10]byte
	n := 0
	for {
		m, err := syscall.Read(s.fd, buffer[n:])
		if err == syscall.EINTR { // of a socket with a timeout reads are not restarted
			continue
		}
		if err == nil && m <= 0 {
			err = errClosed
		}
		if err != nil {
			return fmt.Errorf("response: %w; so far %q", err, buffer[:n])
		}
		n += m
		head, rest, whole := bytes.Cut(buffer[:n], []byte("\r\n\r\n"))
		if !whole {
			continue
		}
		if !bytes.HasPrefix(head, []byte(want)) {
			return fmt.Errorf("response: %q", head)
		}
		s.group.took(s, rest)
		break
	}
	if local, err := syscall.Getsockname(s.fd); err == nil {
		s.port = local.(*syscall.SockaddrInet4).Port
	}
	return syscall.SetNonblock(s.fd, true)
}

// trickle reads so many bytes a second, or nothing if the pace is negative.
func (s *subscriber) trickle(pace int) {
	if pace < 0 {
		return
	}
	buffer := make([]byte, max(1, pace/10))
	for {
		time.Sleep(100 * time.Millisecond)
		n, err := syscall.Read(s.fd, buffer)
		if err == syscall.EAGAIN {
			continue
		}
		if err != nil || n <= 0 {
			s.group.lost.Add(1)
			_ = syscall.Close(s.fd)
			return
		}
	}
}

// Each event's data begins with the mark, which nothing else has, and the time
// when it was due, in nanoseconds.
const (
	mark   = '^'
	digits = 19
)

// dataOf returns the data of an event that was due at a time, of size bytes.
func dataOf(due time.Time, size int) []byte {
	data := append(make([]byte, 0, size), mark)
	data = strconv.AppendInt(data, due.UnixNano(), 10)
	return append(data, bytes.Repeat([]byte("."), max(0, size-len(data)))...)
}

// took counts the events in p and notes how late they are.
func (g *group) took(s *subscriber, p []byte) {
	g.bytes.Add(int64(len(p)))
	marks, now := 0, int64(0)
	for len(p) > 0 {
		if s.read == 0 {
			at := bytes.IndexByte(p, mark)
			if at < 0 {
				break
			}
			marks++
			s.read, s.time, p = 1, 0, p[at+1:]
			continue
		}
		n := min(digits+1-s.read, len(p))
		for _, c := range p[:n] {
			s.time = 10*s.time + int64(c-'0')
		}
		s.read, p = s.read+n, p[n:]
		if s.read == digits+1 {
			s.read = 0
			if now == 0 {
				now = time.Now().UnixNano()
			}
			if s.time > 0 { // a floor's frame may have none
				g.delays.add(now - s.time)
			}
		}
	}
	if marks > 0 {
		g.add(int64(marks))
	} else {
		g.quiet.Add(1)
	}
}
