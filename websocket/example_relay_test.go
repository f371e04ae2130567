package websocket_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead/websocket"
)

// ahead is a hijacked connection whose first bytes net/http has already read.
type ahead struct {
	net.Conn
	buffered *bufio.Reader
}

func (a ahead) Read(p []byte) (int, error) { return a.buffered.Read(p) }

// relayed forwards WebSocket handshakes as they are and relays what follows.
func relayed(ctx context.Context, upstream string, ended func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(upstream, "http://")
		out.RequestURI = ""
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		stream, ok := resp.Body.(io.ReadWriteCloser) // so it is after a 101
		if !ok {
			defer func() { _ = resp.Body.Close() }()
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = stream.Close()
			return
		}
		_ = conn.SetDeadline(time.Time{})
		resp.Body = nil // Write sends the head only
		_ = resp.Write(conn)
		ended(websocket.Relay(ctx, ahead{conn, buffered.Reader}, stream, websocket.RelayConfig{}))
	})
}

// A proxy for WebSockets on plain net/http.
func ExampleRelay() {
	upstream := httptest.NewServer(echo(websocket.Config{}))
	defer upstream.Close()
	var relays sync.WaitGroup
	relays.Add(1)
	proxy := httptest.NewServer(relayed(context.Background(), upstream.URL, func(err error) {
		defer relays.Done()
		fmt.Println(err)
	}))
	defer proxy.Close()

	c, _, err := websocket.Dial(context.Background(), proxy.URL, websocket.DialConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = c.Write(websocket.Text, []byte("through and back"))
	_, message, _ := c.Read()
	fmt.Printf("%s\n", message)
	_ = c.Close(websocket.NormalClosure, "bye")
	relays.Wait()
	// Output:
	// through and back
	// websocket: relay: client: websocket: closed by the peer with 1000: bye
}
