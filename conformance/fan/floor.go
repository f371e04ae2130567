//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// floor is the least that a server can do: it writes the same bytes to each
// connection, with a write(2) each. A request for /publish publishes, or each
// so many of them do.
type floor struct {
	mu    sync.Mutex
	frame []byte // what a write sends: several frames, perhaps
	every int    // requests for each of which it writes once
	taken int    // requests since it last wrote
	files []*os.File
	fds   []uintptr // theirs; in no epoll
}

const floorHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n"

// runFloor serves args[0] until there are no more orders.
func runFloor(args []string) error {
	if len(args) != 1 {
		return errors.New("wants an address")
	}
	l, err := net.Listen("tcp", args[0]) //nolint:noctx // the process's own life
	if err != nil {
		return err
	}
	f := &floor{frame: makeFrame(150, 1), every: 1}
	go f.accept(l)
	return serveOrders(func(o order) (report, error) {
		if o.Do != "frame" {
			return report{}, fmt.Errorf("there is no order %q", o.Do)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.frame, f.every, f.taken = makeFrame(o.Bytes, o.Times), max(1, o.Every), 0
		return report{}, nil
	})
}

// makeFrame returns n frames of the size, each with one mark and the digits of
// no time.
func makeFrame(size, n int) []byte {
	frame := append([]byte{mark}, strings.Repeat("0", digits)...)
	frame = append(frame, bytes.Repeat([]byte("."), max(0, size-len(frame)))...)
	return bytes.Repeat(frame, n)
}

func (f *floor) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go f.admit(c.(*net.TCPConn))
	}
}

// admit reads a request. A subscriber's connection joins the others, and costs
// nothing but its write from then on.
func (f *floor) admit(c *net.TCPConn) {
	buffer := make([]byte, 4<<10)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // a publisher may wait for subscribers
	n := 0
	for !bytes.Contains(buffer[:n], []byte("\r\n\r\n")) {
		m, err := c.Read(buffer[n:])
		if err != nil {
			c.Close()
			return
		}
		n += m
	}
	_ = c.SetReadDeadline(time.Time{})
	if bytes.HasPrefix(buffer, []byte("POST")) {
		f.publish(c, buffer, n)
		return
	}
	defer c.Close()
	if _, err := io.WriteString(c, floorHead); err != nil {
		return
	}
	file, err := c.File() // of the same socket
	if err != nil {
		return
	}
	fd := file.Fd()
	_ = syscall.SetNonblock(int(fd), true) // Fd undid it
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files, f.fds = append(f.files, file), append(f.fds, fd)
}

// publish writes the frame to all for each request on the connection, whose
// requests have a length and come one at a time.
func (f *floor) publish(c *net.TCPConn, buffer []byte, n int) {
	defer c.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		for !complete(buffer[:n]) {
			m, err := c.Read(buffer[n:])
			if err != nil {
				return
			}
			n += m
		}
		f.send(buffer[:n])
		n = 0
		if _, err := io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// complete reports whether a request is there with its body, which ends in a
// newline.
func complete(request []byte) bool {
	_, body, found := bytes.Cut(request, []byte("\r\n\r\n"))
	return found && bytes.HasSuffix(body, []byte("\n"))
}

// send writes the frame, with the time that the request has, to all, if it is
// time for that.
func (f *floor) send(request []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken++; f.taken < f.every {
		return
	}
	f.taken = 0
	if at := bytes.IndexByte(request, mark); at >= 0 && len(request) > at+digits {
		copy(f.frame, request[at:at+1+digits])
	}
	for _, fd := range f.fds {
		rest := f.frame
		for len(rest) > 0 {
			n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest))) //nolint:gosec // without the scheduler, as C would
			if errno == syscall.EAGAIN {
				time.Sleep(50 * time.Microsecond) // the reader is behind
				continue
			}
			if errno != 0 {
				break
			}
			rest = rest[n:]
		}
	}
}
