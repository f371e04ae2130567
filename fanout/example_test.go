package fanout_test

import (
	"bufio"
	"fmt"
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

// One handler serves all clients of a feed, over HTTP/1.1 and HTTP/2 alike. What
// is published while a client takes nothing waits in the feed alone.
func ExampleServe() {
	numbers := &feed{readers: map[*fanout.Conn]struct{}{}}
	options := &fanout.Options{Heartbeat: 15 * time.Second}
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		s := &follower{feed: numbers}
		numbers.mu.Lock()
		numbers.readers[&s.Conn] = struct{}{}
		numbers.mu.Unlock()
		_ = fanout.Serve(r.Context(), &s.Conn, response{w, http.NewResponseController(w)}, s, options)
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

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
	// Output:
	// data: one
	//
	// data: two
}
