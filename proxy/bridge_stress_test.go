package proxy_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// TestBridgesEndInAnyOrder ends bridges from the client, the upstream and the
// proxy at once: nothing may touch a response after its handler's return, which
// would end the program.
func TestBridgesEndInAnyOrder(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, websocket.Config{})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for rand.N(8) != 0 {
			if c.Write(websocket.Binary, make([]byte, rand.N(64<<10))) != nil {
				return
			}
		}
	}))
	for range 10 {
		h := handler(t, up, proxy.Config{Relay: relayHastily})
		s := serve(t, h, overH2C)
		client := h2client.New(t)
		var all sync.WaitGroup
		opened := make(chan struct{}, 10)
		for range cap(opened) {
			all.Go(func() { endSomehow(client, s, opened) })
		}
		for range rand.N(cap(opened)) {
			<-opened
		}
		ctx, cancel := context.WithCancel(t.Context())
		if rand.N(2) == 0 {
			cancel()
		}
		_ = h.Close(ctx)
		all.Wait()
		cancel()
	}
}

// relayHastily does not wait for clients that answer no close.
func relayHastily(ctx context.Context, client, upstream io.ReadWriteCloser) error {
	return websocket.Relay(ctx, client, upstream, websocket.RelayConfig{CloseTimeout: 20 * time.Millisecond})
}

// endSomehow opens a WebSocket, reads some of it, and ends it one way or another.
func endSomehow(client *h2client.Client, s *httptest.Server, opened chan<- struct{}) {
	stream, res := client.Connect(s.URL, h2client.WebSocket())
	opened <- struct{}{}
	if res.StatusCode != http.StatusOK {
		return // the proxy is going away
	}
	c := websocket.New(stream, websocket.Client, websocket.Config{})
	_, _ = io.CopyN(io.Discard, stream, rand.N(int64(200<<10)))
	switch rand.N(3) {
	case 0:
		stream.Reset()
	case 1:
		_ = c.Write(websocket.Text, []byte("hello"))
		_ = c.CloseNow()
	default:
		_, _ = io.Copy(io.Discard, stream)
	}
}
