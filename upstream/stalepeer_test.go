package upstream_test

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// stalePeer is an HTTP/1.1 backend on raw sockets, which ends connections as
// its style tells, and keeps a ledger of what its application read.
type stalePeer struct {
	address string
	style   func(*exchange) // the life of a connection

	work sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	conns    map[*exchange]struct{}
	read     map[string]int // whole requests, by path
	open     bool
}

// exchange is one connection of a stalePeer. Its method and id are those of
// the last request read.
type exchange struct {
	*net.TCPConn

	peer       *stalePeer
	r          *bufio.Reader
	method, id string
}

func newStalePeer(t *testing.T, style func(*exchange)) *stalePeer {
	t.Helper()
	p := &stalePeer{address: "127.0.0.1:0", style: style, conns: make(map[*exchange]struct{}), read: make(map[string]int)}
	p.start(t)
	t.Cleanup(p.kill)
	return p
}

// start listens, where it did before if it did.
func (p *stalePeer) start(t *testing.T) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.listener, p.address, p.open = l, l.Addr().String(), true
	p.mu.Unlock()
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c.(*net.TCPConn))
		}
	})
}

func (p *stalePeer) serve(c *net.TCPConn) {
	x := &exchange{TCPConn: c, peer: p, r: bufio.NewReader(c)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		_ = c.Close()
		return
	}
	p.conns[x] = struct{}{}
	p.work.Go(func() {
		p.style(x)
		_ = c.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, x)
	})
}

// kill closes the listener and every connection, as the end of a process does,
// and waits for those who served them.
func (p *stalePeer) kill() {
	p.mu.Lock()
	p.open = false
	_ = p.listener.Close()
	for x := range p.conns {
		_ = x.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// ledger returns how often each request was read.
func (p *stalePeer) ledger() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.read)
}

// next reads a whole request and enters it into the ledger. It reports whether
// there was one, and how often it has been read.
func (x *exchange) next() (times int, ok bool) {
	req, err := http.ReadRequest(x.r)
	if err != nil {
		return 0, false
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return 0, false
	}
	x.method, x.id = req.Method, req.URL.Path
	x.peer.mu.Lock()
	defer x.peer.mu.Unlock()
	x.peer.read[x.id]++
	return x.peer.read[x.id], true
}

// answer answers, in one segment.
func (x *exchange) answer() {
	_, _ = x.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) // who has left does not matter
}

// reset ends the connection as a process does that aborts.
func (x *exchange) reset() {
	_ = x.SetLinger(0)
	_ = x.Close()
}

// linger waits in real time: what these tests are about is the kernel's.
func linger(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
