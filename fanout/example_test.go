package fanout_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead/fanout"
)

// feed is a list of lines that grows, and wakes who reads it.
type feed struct {
	mu      sync.Mutex
	lines   []string
	readers map[*fanout.Conn]struct{}
}

func (f *feed) publish(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line)
	for c := range f.readers {
		c.Wake()
	}
}

// follow returns the session of a new client.
func (f *feed) follow() *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &follower{feed: f}
	f.readers[&s.Conn] = struct{}{}
	return s
}

// follower is the session of one client of a feed: a position in it, and no
// queue.
type follower struct {
	fanout.Conn

	feed *feed
	next int
}

func (s *follower) Pull(out *fanout.Out) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	for ; s.next < len(s.feed.lines); s.next++ {
		line := s.feed.lines[s.next]
		if line == "end" {
			out.End(fanout.End{})
			return
		}
		if out.Room() < len(line) {
			out.More() // the rest once this was written
			return
		}
		out.Add([]byte("data: " + line + "\n\n"))
	}
}

func (*follower) Receive(*fanout.Out, []byte) {}

func (*follower) Beat(out *fanout.Out) { out.Share([]byte(":\n\n")) }

func (s *follower) Closed(error) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.readers, &s.Conn)
}

// response is a handler's response as a [fanout.Stream]. It cannot be read.
type response struct {
	http.ResponseWriter
	*http.ResponseController
}

func (r response) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	if err != nil {
		return n, err
	}
	return n, r.Flush()
}

func (response) CloseWrite() error { return nil } // it ends when the handler returns
func (response) Close() error      { return nil }

// readNumbers publishes numbers, each when a client has received the one before.
func readNumbers(server *httptest.Server, numbers *feed) {
	numbers.publish("one")
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		fmt.Println(lines.Text())
		switch lines.Text() {
		case "data: one":
			numbers.publish("two")
		case "data: two":
			numbers.publish("end")
		}
	}
}

// One handler serves all clients of a feed, over HTTP/1.1 and HTTP/2 alike. What
// is published while a client takes nothing waits in the feed alone.
func ExampleServe() {
	numbers := &feed{readers: map[*fanout.Conn]struct{}{}}
	options := &fanout.Options{Heartbeat: 15 * time.Second}
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		s := numbers.follow()
		_ = fanout.Serve(r.Context(), &s.Conn, response{w, http.NewResponseController(w)}, s, options)
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	readNumbers(server, numbers)
	// Output:
	// data: one
	//
	// data: two
}

// plain is a connection as a [fanout.Stream].
type plain struct{ net.Conn }

func (plain) CloseWrite() error { return nil } // Close is to follow

// An engine takes the connections of a handler over, which then returns: of each
// client a few hundred bytes remain. What it cannot take, Serve serves.
func ExampleEngine() {
	numbers := &feed{readers: map[*fanout.Conn]struct{}{}}
	options := &fanout.Options{Heartbeat: 15 * time.Second}
	engine := fanout.New(fanout.Config{})
	defer engine.Close()
	handler := func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil { // HTTP/2, where Serve is for the response
			http.Error(w, "use HTTP/1.1", http.StatusHTTPVersionNotSupported)
			return
		}
		_ = conn.SetDeadline(time.Time{}) // net/http's are not for a stream
		// What the client sent after its request may have been read already.
		early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
		// Without a length the response ends with its connection.
		const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
		taken := fanout.Taken{Conn: conn, Early: bytes.Clone(early), First: []byte(head)}

		s := numbers.follow()
		if engine.Add(&s.Conn, taken, s, options) == nil {
			return // the engine calls s.Closed in the end
		}
		// It has not been called, and conn is still the handler's.
		if _, err := conn.Write(taken.First); err != nil {
			conn.Close()
			s.Closed(err)
			return
		}
		_ = fanout.Serve(r.Context(), &s.Conn, plain{conn}, s, options)
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	readNumbers(server, numbers)
	// Output:
	// data: one
	//
	// data: two
}
