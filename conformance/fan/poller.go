//go:build linux

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
)

// tally is what subscribers got.
type tally struct {
	deliveries, bytes, lost atomic.Int64
	quiet                   atomic.Int64 // reads without an event

	goal    atomic.Int64
	reached chan struct{} // of 1: the goal is
}

func (t *tally) add(n int64) {
	after := t.deliveries.Add(n)
	if goal := t.goal.Load(); goal > after-n && goal <= after {
		select {
		case t.reached <- struct{}{}:
		default:
		}
	}
}

// poller reads of many subscribers by one goroutine.
type poller struct {
	epoll int

	mu   sync.Mutex
	subs []*subscriber // by the event's number; nil when closed
	free []int32
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &poller{epoll: fd}, nil
}

func (p *poller) add(s *subscriber) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var slot int32
	if n := len(p.free); n > 0 {
		slot, p.free = p.free[n-1], p.free[:n-1]
		p.subs[slot] = s
	} else {
		slot = int32(len(p.subs))
		p.subs = append(p.subs, s)
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: slot}
	if err := syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, s.fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// drop closes a subscriber: the caller holds the lock.
func (p *poller) drop(slot int32) {
	_ = syscall.Close(p.subs[slot].fd)
	p.subs[slot] = nil
	p.free = append(p.free, slot)
}

func (p *poller) closeAll(g *group) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for slot, s := range p.subs {
		if s != nil && s.group == g {
			p.drop(int32(slot))
		}
	}
}

// run reads until the process ends.
func (p *poller) run() {
	events, buffer := make([]syscall.EpollEvent, 256), make([]byte, 64<<10)
	for {
		n, err := syscall.EpollWait(p.epoll, events, -1)
		if err != nil && err != syscall.EINTR {
			return
		}
		for _, e := range events[:max(0, n)] {
			p.read(e.Fd, buffer)
		}
	}
}

// read reads once: what is left makes the next event.
func (p *poller) read(slot int32, buffer []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.subs[slot]
	if s == nil {
		return
	}
	n, err := syscall.Read(s.fd, buffer)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || n <= 0 {
		s.group.lost.Add(1)
		p.drop(slot)
		return
	}
	const ping, pong, masked = 0x89, 0x8a, 0x80
	if buffer[0] == ping && n >= 2 { // of a WebSocket; it comes alone, in a silence
		size := min(n-2, int(buffer[1]))
		reply := append([]byte{pong, masked | byte(size), 0, 0, 0, 0}, buffer[2:2+size]...) // under a mask of zeros
		_, _ = syscall.Write(s.fd, reply)
	}
	s.group.took(s, buffer[:n])
}
