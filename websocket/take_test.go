package websocket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/websocket"
)

// taking serves WebSockets that return each message, without a Conn; was is
// told what was taken.
func taking(cfg websocket.Config, was func(*websocket.Taken)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		taken, err := websocket.Take(w, r, cfg)
		if err != nil {
			return
		}
		was(taken)
		defer func() { _ = taken.Stream.Close() }()
		p := websocket.NewParser(websocket.Server, cfg.MaxMessage)
		for in, buf := taken.Early, make([]byte, 512); ; {
			m, rest, err := p.Next(in)
			if err != nil {
				return
			}
			switch in = rest; m.Kind {
			case websocket.Text, websocket.Binary:
				_, err = taken.Stream.Write(websocket.AppendFrame(nil, m.Kind, m.Payload))
			case websocket.Ping:
				_, err = taken.Stream.Write(websocket.AppendControl(nil, websocket.Pong, m.Payload))
			case websocket.Close:
				_, _ = taken.Stream.Write(websocket.AppendClose(nil, m.Code, ""))
				return
			case 0:
				var n int
				n, err = taken.Stream.Read(buf)
				in = buf[:n]
			}
			if err != nil {
				return
			}
		}
	})
}

func TestTakeGivesTheConnectionItself(t *testing.T) {
	t.Parallel()
	got := make(chan *websocket.Taken, 1)
	cfg := websocket.Config{Subprotocols: []string{"v2", "v1"}}
	s := serve(t, taking(cfg, func(taken *websocket.Taken) {
		seen := *taken
		seen.Early = bytes.Clone(seen.Early) // in which the masks are taken off
		got <- &seen
	}))
	early := join(masked(ws.OpText, true, "early"), masked(ws.OpBinary, true, "cut")[:3])
	resp, br, conn := ask(t, s, handshakeOf("", "Sec-WebSocket-Protocol", "v1, v2", "Sec-WebSocket-Extensions", "permessage-deflate")+string(early))
	taken := <-got
	if _, ok := taken.Stream.(*net.TCPConn); !ok {
		t.Errorf("the stream is a %T", taken.Stream)
	}
	if _, ok := taken.Stream.(syscall.Conn); !ok {
		t.Errorf("a %T has no descriptor", taken.Stream)
	}
	if !bytes.HasPrefix(early, taken.Early) || taken.Subprotocol != "v2" || taken.Compression {
		t.Errorf("taken %q, %q, compression %v", taken.Early, taken.Subprotocol, taken.Compression)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Protocol") != "v2" || resp.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Errorf("answered with %s %v", resp.Status, resp.Header)
	}
	if f := nextFrame(t, br); string(f.Payload) != "early" {
		t.Errorf("echo %q", f.Payload)
	}
	_, _ = conn.Write(join(masked(ws.OpBinary, true, "cut")[3:], masked(ws.OpPing, true, "p"), masked(ws.OpClose, true, closeBody(1000, "bye"))))
	for _, want := range []struct {
		op      ws.OpCode
		payload string
	}{{ws.OpBinary, "cut"}, {ws.OpPong, "p"}, {ws.OpClose, closeBody(1000, "")}} {
		if f := nextFrame(t, br); f.Header.OpCode != want.op || string(f.Payload) != want.payload || f.Header.Masked {
			t.Errorf("%v, want %v", f, want)
		}
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want the end", err)
	}
}

func TestATakenTunnelIsAStreamOfFrames(t *testing.T) {
	t.Parallel()
	got := make(chan *websocket.Taken, 1)
	s := serveH2(t, taking(websocket.Config{Compression: true}, func(taken *websocket.Taken) { got <- taken }))
	stream, res := h2client.New(t).Connect(s.URL, h2client.WebSocket("Sec-WebSocket-Extensions", "permessage-deflate"))
	if taken := <-got; res.StatusCode != http.StatusOK || !taken.Compression || len(taken.Early) != 0 || res.Header.Get("Sec-Websocket-Extensions") == "" {
		t.Errorf("taken %+v, answered with %s %v", taken, res.Status, res.Header)
	}
	_, _ = stream.Write(masked(ws.OpText, true, "hello"))
	if f := nextFrame(t, stream); string(f.Payload) != "hello" {
		t.Errorf("echo %q", f.Payload)
	}
	_, _ = stream.Write(masked(ws.OpClose, true, ""))
	if f := nextFrame(t, stream); f.Header.OpCode != ws.OpClose || len(f.Payload) != 0 {
		t.Errorf("the close is answered by %+v", f)
	}
}

func TestATakenConnectionHasNoDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := websocket.Config{WriteTimeout: time.Second}
		h := taking(cfg, func(*websocket.Taken) { sleep(t, "5s") })
		s := memnet.Serve(t, &http.Server{Handler: h, ReadTimeout: time.Second, WriteTimeout: time.Second}, nil)
		conn, err := s.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := websocket.Dial(t.Context(), "ws://any.test/", websocket.DialConfig{
			NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		sleep(t, "10s")
		if err := c.Write(websocket.Text, []byte("late")); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.Read(); string(p) != "late" || err != nil {
			t.Errorf("Read = %q, %v", p, err)
		}
		_ = c.Close(websocket.NormalClosure, "")
	})
}

func TestARefusalIsAnsweredAsTheConfigSays(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{Refuse: func(w http.ResponseWriter, r *http.Request, status int, reason string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"path":%q,"detail":%q}`, r.URL.Path, reason)
	}}
	s := serve(t, echo(cfg))
	for _, c := range []struct {
		request, field string
		status         int
	}{
		{handshakeOf("", "Sec-WebSocket-Version", "8"), "Sec-Websocket-Version", 426},
		{handshakeOf("POST /chat HTTP/1.1", "Content-Length", "0"), "Allow", 405},
		{handshakeOf("", "Origin", "https://evil.test"), "Content-Type", 403},
	} {
		resp, _, _ := ask(t, s, c.request)
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || resp.Header.Get(c.field) == "" || resp.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.HasPrefix(string(body), `{"path":"/chat","detail":"`) || err != nil {
			t.Errorf("%s %v: %s, %v", resp.Status, resp.Header, body, err)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/chat", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	w := httptest.NewRecorder() // which has no connection
	if _, err := websocket.Take(w, r, cfg); err == nil || w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "detail") {
		t.Errorf("Take: %v with %d %s", err, w.Code, w.Body)
	}
}

func TestControlFramesAreEncodedForAnyConnection(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100)
	for name, c := range map[string]struct{ got, want []byte }{
		"RFC 6455 §5.7":       {websocket.AppendControl(nil, websocket.Ping, []byte("Hello")), []byte("\x89\x05Hello")},
		"behind another":      {websocket.AppendControl([]byte("\x89\x00"), websocket.Pong, nil), []byte("\x89\x00\x8a\x00")},
		"a pong that is long": {websocket.AppendControl(nil, websocket.Pong, []byte(long)), append([]byte("\x8a\x7d"), long[:125]...)},
		"a close":             {websocket.AppendClose(nil, 1001, "bye"), []byte("\x88\x05\x03\xe9bye")},
		"a close of nothing":  {websocket.AppendClose(nil, websocket.NoStatus, "bye"), []byte("\x88\x00")},
		"a long reason":       {websocket.AppendClose(nil, 1000, long), append([]byte("\x88\x7c\x03\xe8"), long[:122]...)},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
}
