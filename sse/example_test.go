package sse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead/sse"
)

// prices is a feed that remembers: what a reader missed is sent when it returns.
type prices struct {
	mu    sync.Mutex
	ticks []string      // the id of a tick is its place, from 1
	more  chan struct{} // closed at the next tick
}

func newPrices() *prices { return &prices{more: make(chan struct{})} }

func (p *prices) publish(tick string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticks = append(p.ticks, tick)
	close(p.more)
	p.more = make(chan struct{})
}

// after returns the ticks after the id, and what is closed when there are more.
func (p *prices) after(id int) ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ticks[min(max(id, 0), len(p.ticks)):], p.more
}

// ServeHTTP streams the ticks after Last-Event-ID, then new ones as they come,
// and a comment in every 15 seconds of silence, so that no network on the way
// takes the connection for dead.
func (p *prices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	last, _ := strconv.Atoi(r.Header.Get("Last-Event-ID")) // absent or foreign: from the start
	stream, err := sse.NewWriter(w)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer stream.Close()
	heartbeat := time.NewTicker(15 * time.Second)
	defer heartbeat.Stop()
	for {
		ticks, more := p.after(last)
		for _, tick := range ticks {
			last++
			if stream.Send(sse.Event{ID: strconv.Itoa(last), Type: "price", Data: []byte(tick)}) != nil {
				return // the reader is gone, or does not read
			}
		}
		select {
		case <-more:
		case <-heartbeat.C:
			if stream.Comment("heartbeat") != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// Example 5.6 of the chapter: an SSE server with event streaming. Its reader
// drops, misses an event, and resumes.
func Example() {
	feed := newPrices()
	srv := httptest.NewServer(feed)
	defer srv.Close()

	feed.publish(`{"symbol": "AAPL", "price": 178.50}`)
	client := sse.NewClient(srv.URL, sse.ClientConfig{})
	for e, err := range client.Events(context.Background()) {
		fmt.Println(e.ID, e.Type, string(e.Data), err)
		break // the connection drops
	}

	feed.publish(`{"symbol": "GOOGL", "price": 141.25}`)
	fmt.Println("missed one, resuming after", client.LastEventID())
	for e, err := range client.Events(context.Background()) {
		fmt.Println(e.ID, e.Type, string(e.Data), err)
		break
	}
	// Output:
	// 1 price {"symbol": "AAPL", "price": 178.50} <nil>
	// missed one, resuming after 1
	// 2 price {"symbol": "GOOGL", "price": 141.25} <nil>
}

// A client that reconnects by itself until the server says, with 204, that the
// stream is over.
func ExampleClient() {
	parts := map[string]string{"": "id: 1\nretry: 100\ndata: Hello,\n\n", "1": "id: 2\ndata: world.\n\n"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part, ok := parts[r.Header.Get("Last-Event-ID")]
		if !ok {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if stream, err := sse.NewWriter(w); err == nil {
			_, _ = stream.Write([]byte(part)) // and the connection ends
		}
	}))
	defer srv.Close()

	client := sse.NewClient(srv.URL, sse.ClientConfig{
		OnRetry: func(err error, _ time.Duration) { fmt.Println("again, after", err) },
	})
	for e, err := range client.Events(context.Background()) {
		if err != nil {
			fmt.Println("gave up:", err)
			return
		}
		fmt.Println(string(e.Data))
	}
	fmt.Println("over")
	// Output:
	// Hello,
	// again, after EOF
	// world.
	// again, after EOF
	// over
}

// A recorder keeps every whole block as it came, and numbers events that have
// no id of their own.
func ExampleSplitter() {
	var s sse.Splitter
	n := 0
	for _, piece := range []string{"data: a\r\n\r", "\n: comment\n\nid: x\nda", "ta: b\n\ndata: unfinished"} {
		s.Feed([]byte(piece))
		for b, ok := s.Next(); ok; b, ok = s.Next() {
			if b.HasData && !b.HasID {
				n++
				fmt.Printf("id: %d + ", n)
			}
			fmt.Printf("%q\n", b.Raw)
		}
	}
	fmt.Println(s.Pending(), "bytes of an incomplete block")
	// Output:
	// id: 1 + "data: a\r\n\r"
	// ": comment\n\n"
	// "id: x\ndata: b\n\n"
	// 16 bytes of an incomplete block
}

// One encoded frame serves all readers; only the id line is each one's own.
func ExampleAppendIDLine() {
	frame, _ := sse.Append(nil, sse.Event{Type: "tick", Data: []byte("1\n2")})
	for _, cursor := range []string{"a1", "b7"} {
		out, _ := sse.AppendIDLine(nil, cursor)
		fmt.Printf("%q\n", append(out, frame...))
	}
	// Output:
	// "id: a1\nevent: tick\ndata: 1\ndata: 2\n\n"
	// "id: b7\nevent: tick\ndata: 1\ndata: 2\n\n"
}
