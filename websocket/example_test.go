package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-edge/fairlead/websocket"
)

// room is a set of connections with a limit, heartbeats and a graceful end.
type room struct {
	limit int
	mu    sync.Mutex
	conns map[*websocket.Conn]bool
}

// join adds c unless the room is full.
func (r *room) join(c *websocket.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) < r.limit {
		r.conns[c] = true
	}
	return r.conns[c]
}

func (r *room) leave(c *websocket.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// each runs do for every connection at once, so that no slow one holds the rest.
func (r *room) each(do func(*websocket.Conn)) {
	r.mu.Lock()
	var wg sync.WaitGroup
	for c := range r.conns {
		wg.Go(func() { do(c) })
	}
	r.mu.Unlock()
	wg.Wait()
}

// ServeHTTP serves WebSockets over HTTP/1.1, 2 and 3 alike. It returns after the
// connection's end: over HTTP/2 and 3 it must not before.
func (r *room) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c, err := websocket.Accept(w, req, websocket.Config{MaxMessage: 64 << 10})
	if err != nil {
		return // the client has its answer
	}
	defer c.Close(websocket.NormalClosure, "") //nolint:errcheck // nobody is left to tell
	if !r.join(c) {
		_ = c.Close(websocket.TryAgainLater, "the room is full")
		return
	}
	defer r.leave(c)
	for {
		kind, message, err := c.Read()
		if err != nil {
			return
		}
		frame := websocket.AppendFrame(nil, kind, message) // encoded once for all
		r.each(func(c *websocket.Conn) { _ = c.WriteFrame(frame) })
	}
}

// run sends heartbeats from one ticker, drops who has gone silent, and at the
// end tells everybody to come back later.
func (r *room) run(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.each(func(c *websocket.Conn) {
				if time.Since(c.LastRead()) > 3*interval {
					_ = c.CloseNow()
					return
				}
				_ = c.Ping(nil)
			})
		case <-ctx.Done():
			r.each(func(c *websocket.Conn) { _ = c.Close(websocket.ServiceRestart, "deploy") })
			return
		}
	}
}

// A WebSocket server with connection management on plain net/http.
func Example() {
	chat := &room{limit: 1, conns: map[*websocket.Conn]bool{}}
	server := httptest.NewServer(chat)
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var heart sync.WaitGroup
	heart.Go(func() { chat.run(ctx, 15*time.Second) })

	alice, _, err := websocket.Dial(ctx, server.URL, websocket.DialConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = alice.Write(websocket.Text, []byte("hello"))
	_, message, _ := alice.Read()
	fmt.Printf("alice: %s\n", message)

	bob, _, err := websocket.Dial(ctx, server.URL, websocket.DialConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = bob.Read()
	fmt.Println("bob:", err)

	cancel() // a deploy
	_, _, err = alice.Read()
	fmt.Println("alice:", err)
	heart.Wait()
	// Output:
	// alice: hello
	// bob: websocket: closed by the peer with 1013: the room is full
	// alice: websocket: closed by the peer with 1012: deploy
}

// follow keeps a connection to url: it reconnects with a jittered back-off that
// starts again only after the connection has been stable, watches for silence,
// and ends with ctx or an ordinary close.
func follow(ctx context.Context, url string, interval time.Duration, got func([]byte)) error {
	const shortest, longest = 10 * time.Millisecond, 30 * time.Second
	backoff := shortest
	for {
		began := time.Now()
		err := listen(ctx, url, interval, got)
		if ctx.Err() != nil || websocket.CloseCode(err) == websocket.NormalClosure {
			return context.Cause(ctx)
		}
		if time.Since(began) > 3*interval {
			backoff = shortest
		}
		select {
		case <-time.After(backoff/2 + rand.N(backoff)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		backoff = min(2*backoff, longest)
	}
}

// listen is one connection of follow.
func listen(ctx context.Context, url string, interval time.Duration, got func([]byte)) error {
	c, _, err := websocket.Dial(ctx, url, websocket.DialConfig{})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close(websocket.GoingAway, "") })
	defer stop()
	done := make(chan struct{})
	var heart sync.WaitGroup
	heart.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// An open socket proves nothing; an inbound byte does.
				if time.Since(c.LastRead()) > 3*interval || c.Ping(nil) != nil {
					_ = c.CloseNow()
				}
			case <-done:
				return
			}
		}
	})
	defer func() {
		close(done)
		heart.Wait()
		_ = c.CloseNow()
	}()
	for {
		_, message, err := c.Read()
		if err != nil {
			return err
		}
		got(message)
	}
}

// A client that sends heartbeats and reconnects.
func Example_reconnect() {
	var visits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, websocket.Config{})
		if err != nil {
			return
		}
		visit := visits.Add(1)
		_ = c.Write(websocket.Text, fmt.Appendf(nil, "connection %d", visit))
		if visit == 1 {
			_ = c.CloseNow() // a network that breaks
		}
		_ = c.Close(websocket.NormalClosure, "that is all")
	}))
	defer server.Close()
	err := follow(context.Background(), server.URL, 15*time.Second, func(message []byte) {
		fmt.Printf("%s\n", message)
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	// Output:
	// connection 1
	// connection 2
}
