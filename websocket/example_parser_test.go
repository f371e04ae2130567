package websocket_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/fairlead-edge/fairlead/websocket"
)

// shout is a session of an event loop: receive is called with what arrived on
// its connection, and returns what is to be sent there. Until then the session
// is a few bytes, and nobody waits for it.
type shout struct {
	parser websocket.Parser
	ended  bool
}

func (s *shout) receive(in []byte) (out []byte) {
	for {
		m, rest, err := s.parser.Next(in)
		if err != nil {
			out = websocket.AppendClose(out, websocket.CloseCode(err), "")
			s.ended = true
		}
		switch in = rest; m.Kind {
		case websocket.Text:
			if !s.ended {
				out = websocket.AppendFrame(out, websocket.Text, append(m.Payload, '!'))
			}
		case websocket.Ping:
			out = websocket.AppendControl(out, websocket.Pong, m.Payload)
		case websocket.Close:
			if !s.ended {
				out = websocket.AppendClose(out, m.Code, "")
			}
			s.ended = true
			return out
		case 0:
			if err == nil {
				return out
			}
		}
	}
}

// A server whose connections are not goroutines in Read: Take leaves the
// connection to whatever polls it, a Parser makes messages of what arrives.
func ExampleParser() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		taken, err := websocket.Take(w, r, websocket.Config{})
		if err != nil {
			return // the client has its answer
		}
		defer taken.Stream.Close() //nolint:errcheck // nobody is left to tell
		s := shout{parser: websocket.NewParser(websocket.Server, 64<<10)}
		_, err = taken.Stream.Write(s.receive(taken.Early))
		for buf := make([]byte, 4<<10); err == nil && !s.ended; { // for one connection a loop is its poller
			var n int
			if n, err = taken.Stream.Read(buf); n > 0 {
				_, err = taken.Stream.Write(s.receive(buf[:n]))
			}
		}
	}))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL, websocket.DialConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, word := range []string{"hello", "world"} {
		_ = c.Write(websocket.Text, []byte(word))
		_, p, err := c.Read()
		fmt.Println(string(p), err)
	}
	fmt.Println(c.Close(websocket.NormalClosure, ""))
	// Output:
	// hello! <nil>
	// world! <nil>
	// <nil>
}
