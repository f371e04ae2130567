package conformance_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// server is a running fairlead.
type server struct {
	*process

	http, https, admin string // base URLs; https only where it is asked for
}

// serve starts fairlead on free ports with further arguments, and expects it
// to drain cleanly when the test ends.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	return serveIn(t, nil, args...)
}

// serveIn is serve with further variables of the environment.
func serveIn(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	p := start(t, append([]string{"GORACE=atexit_sleep_ms=0"}, env...), binary, append([]string{"serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	s := &server{process: p}
	t.Cleanup(func() { // runs before the process's own
		s.stop()
		if s.err != nil {
			t.Errorf("fairlead did not exit with 0 after a drain: %v", s.err)
		}
		if strings.Contains(s.errors(), "DATA RACE") || strings.Contains(s.errors(), "panic") {
			t.Errorf("fairlead raced or panicked:\n%s", s.errors())
		}
	})
	for {
		name, address, _ := strings.Cut(s.line(), " ")
		switch name {
		case "http":
			s.http = address
		case "https":
			s.https = address
		case "admin":
			s.admin = address
		case "ready":
			if s.http == "" || s.admin == "" {
				t.Fatal("fairlead was ready before it printed its addresses")
			}
			return s
		}
	}
}

// publish appends one event and returns its cursor.
func (s *server) publish(topic, data string) (cursor string) {
	s.t.Helper()
	p := curl(s.t, "--fail-with-body", "-d", data, "-H", "Content-Type: text/plain", s.http+"/topics/"+topic)
	body := strings.Join(p.rest(), "")
	p.wait()
	if p.err != nil {
		s.t.Fatalf("publishing failed: %s", body)
	}
	return decode[struct{ Cursor string }](s.t, body).Cursor
}

// cutter forwards TCP connections to a server and can break them all at once,
// as a network that changes does.
type cutter struct {
	url    string
	target string

	mu    sync.Mutex
	conns map[net.Conn]bool
	total int     // connections accepted so far
	heads []*head // of what the server sent on each
	group sync.WaitGroup
}

// head keeps the beginning of what is written to it.
type head struct {
	mu    sync.Mutex
	bytes []byte // at most a TLS record
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = append(h.bytes, p[:min(len(p), 16<<10-len(h.bytes))]...)
	return len(p), nil
}

// cut returns a cutter in front of the server at a base URL.
func cut(t *testing.T, base string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{
		url:    "http://" + listener.Addr().String(),
		target: base[strings.Index(base, "//")+2:],
		conns:  map[net.Conn]bool{},
	}
	c.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.group.Go(func() { c.forward(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.cut()
		c.group.Wait()
	})
	return c
}

func (c *cutter) forward(client net.Conn) {
	defer client.Close()
	upstream, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer upstream.Close()
	c.mu.Lock()
	c.conns[client], c.conns[upstream] = true, true
	c.total++
	answer := new(head)
	c.heads = append(c.heads, answer)
	c.mu.Unlock()
	var pair sync.WaitGroup
	for _, way := range []struct {
		to   io.Writer
		from io.Reader
	}{{upstream, client}, {io.MultiWriter(answer, client), upstream}} {
		pair.Go(func() {
			_, _ = io.Copy(way.to, way.from)
			client.Close()
			upstream.Close()
		})
	}
	pair.Wait()
	c.mu.Lock()
	delete(c.conns, client)
	delete(c.conns, upstream)
	c.mu.Unlock()
}

// cut breaks every connection that is open now; new ones are forwarded.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}

// upstream is somebody else's API: a handler on a free port.
func upstream(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	var group sync.WaitGroup
	group.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() {
		s.Close()
		group.Wait()
	})
	return "http://" + listener.Addr().String()
}
