package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

func overH2C(s *httptest.Server) {
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
}

// relayFrames is what a program sets [proxy.Config.Relay] to.
func relayFrames(ctx context.Context, client, upstream io.ReadWriteCloser) error {
	err := websocket.Relay(ctx, client, upstream, websocket.RelayConfig{})
	if _, ordinary := errors.AsType[*websocket.CloseError](err); ordinary || ctx.Err() != nil {
		err = nil
	}
	return err
}

// sockets is a WebSocket server on HTTP/1.1 that says each message again. It
// reports how each connection ended, and the handshakes.
func sockets(t *testing.T) (s *httptest.Server, ended chan error, seen chan *http.Request) {
	t.Helper()
	ended, seen = make(chan error, 10), make(chan *http.Request, 10)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		w.Header().Set("X-From", "upstream")
		c, err := websocket.Accept(w, r, websocket.Config{
			Subprotocols: []string{"chat"}, Compression: true,
			CheckOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") != "https://evil.example" },
		})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, p, err := c.Read()
			if err != nil {
				ended <- err
				return
			}
			switch string(p) {
			case "close":
				_ = c.Close(4321, "as asked")
				return
			case "die":
				return
			}
			_ = c.Write(kind, p)
		}
	})), ended, seen
}

func TestAWebSocketOfHTTP2IsBridgedToAnUpgrade(t *testing.T) {
	t.Parallel()
	up, ended, seen := sockets(t)
	outcomes := make(chan proxy.Outcome, 10)
	s := front(t, up, proxy.Config{Relay: relayFrames, Observe: func(o proxy.Outcome) { outcomes <- o }}, overH2C)
	client := h2client.New(t)
	stream, res := client.Connect(s.URL+"/path?q=1", h2client.WebSocket(
		"Sec-WebSocket-Protocol", "other, chat", "Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits",
		"Origin", "https://page.example", "Cookie", "a=b", "Sec-WebSocket-Key", "none"))
	r := wait(t, seen, "the handshake")
	if r.Method != http.MethodGet || r.URL.String() != "/path?q=1" || r.ProtoMajor != 1 || r.ContentLength != 0 || len(r.TransferEncoding) != 0 ||
		r.Header.Get("Origin") != "https://page.example" || r.Header.Get("Cookie") != "a=b" || r.Header.Get("X-Forwarded-For") == "" || r.Header.Get(":protocol") != "" {
		t.Errorf("upstream saw %s %s %s %d %v", r.Method, r.URL, r.Proto, r.ContentLength, r.Header)
	}
	for name, want := range map[string]string{
		"Sec-Websocket-Protocol": "chat", "X-From": "upstream", "Content-Type": "", "Content-Length": "",
		"Sec-Websocket-Accept": "", "Upgrade": "", "Connection": "",
		"Sec-Websocket-Extensions": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	c := websocket.New(stream, websocket.Client, websocket.Config{Compression: true})
	for _, message := range [][]byte{[]byte("hello"), bytes.Repeat([]byte("compressible "), 50_000), {}} {
		if err := c.Write(websocket.Binary, message); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(message), err)
		}
	}
	if err := c.Close(4001, "enough"); err != nil {
		t.Error(err)
	}
	if err := wait(t, ended, "the upstream's end"); websocket.CloseCode(err) != 4001 {
		t.Error(err)
	}
	if o := wait(t, outcomes, "the outcome"); o.Status != http.StatusOK || o.Err != nil || o.Request.Method != http.MethodConnect {
		t.Errorf("%+v", o)
	}
}

func TestTheEndOfABridgePassesBothWays(t *testing.T) {
	t.Parallel()
	up, ended, _ := sockets(t)
	outcomes := make(chan proxy.Outcome, 10)
	s := front(t, up, proxy.Config{Relay: relayFrames, Observe: func(o proxy.Outcome) { outcomes <- o }}, overH2C)
	client := h2client.New(t)
	for says, want := range map[string]int{"close": 4321, "die": websocket.BadGateway} {
		stream, _ := client.Connect(s.URL, h2client.WebSocket())
		c := websocket.New(stream, websocket.Client, websocket.Config{})
		_ = c.Write(websocket.Text, []byte(says))
		if _, _, err := c.Read(); websocket.CloseCode(err) != want {
			t.Errorf("%s: %v", says, err)
		}
		_ = c.CloseNow()
		if o := wait(t, outcomes, "the outcome"); (o.Err != nil) != (says == "die") {
			t.Errorf("%s: %+v", says, o)
		}
	}
	stream, _ := client.Connect(s.URL, h2client.WebSocket())
	c := websocket.New(stream, websocket.Client, websocket.Config{})
	_ = c.Write(websocket.Text, []byte("hello"))
	if _, _, err := c.Read(); err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Write([]byte{0x82, 0xff}) // half a header
	stream.Reset()
	if err := wait(t, ended, "the upstream's end"); websocket.CloseCode(err) != websocket.GoingAway || !strings.Contains(err.Error(), "the client is gone") {
		t.Error(err)
	}
	_ = wait(t, outcomes, "the outcome")
}

func TestABridgeWhoseUpstreamDiesInAFrameIsReset(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: "+acceptKey(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"+"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x00"+strings.Repeat("x", 64<<10))
		_, _ = rw.ReadByte() // until the client has got some of it
	}))
	s := front(t, up, proxy.Config{Relay: relayFrames}, overH2C)
	stream, res := h2client.New(t).Connect(s.URL, h2client.WebSocket())
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if _, err := io.ReadFull(stream, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	_, _ = stream.Write([]byte("\x8a\x80abcd"))
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("half a frame looks like an end")
	}
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestABridgeIsRefusedAsAnUpgradeIs(t *testing.T) {
	t.Parallel()
	up, _, _ := sockets(t)
	says := func(header string) *httptest.Server {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, header+"\r\n\r\n")
		}))
	}
	foreign := func(*http.Request) bool { return false }
	for name, c := range map[string]struct {
		up     *httptest.Server
		cfg    proxy.Config
		header http.Header
		status int
		body   string
	}{
		"by the upstream":     {up, proxy.Config{}, h2client.WebSocket("Origin", "https://evil.example"), 403, "this Origin"},
		"by its own rule":     {up, proxy.Config{CheckOrigin: foreign}, h2client.WebSocket("Origin", "https://evil.example"), 403, `"permission_denied"`},
		"another version":     {up, proxy.Config{}, h2client.WebSocket("Sec-WebSocket-Version", "8"), 400, "Sec-WebSocket-Version: 13"},
		"another protocol":    {up, proxy.Config{}, h2client.WebSocket(":protocol", "connect-udp"), 405, "CONNECT is refused"},
		"a page":              {says("HTTP/1.1 200 OK\r\nContent-Length: 0"), proxy.Config{}, h2client.WebSocket(), 502, `"unavailable"`},
		"a redirect":          {says("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0"), proxy.Config{}, h2client.WebSocket(), 302, ""},
		"a wrong digest":      {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x"), proxy.Config{}, h2client.WebSocket(), 502, ""},
		"another upgrade":     {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp"), proxy.Config{}, h2client.WebSocket(), 502, ""},
		"an end":              {says(""), proxy.Config{}, h2client.WebSocket(), 502, ""},
		"a body that is none": {up, proxy.Config{Transport: readOnly{}}, h2client.WebSocket(), 502, ""},
	} {
		s := front(t, c.up, c.cfg, overH2C)
		if res, body := h2client.New(t).Refused(s.URL, c.header); res.StatusCode != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
	}
}

func TestCloseEndsBridges(t *testing.T) {
	t.Parallel()
	up, ended, _ := sockets(t)
	for _, relay := range []func(context.Context, io.ReadWriteCloser, io.ReadWriteCloser) error{relayFrames, nil} {
		h := handler(t, up, proxy.Config{Relay: relay})
		s := serve(t, h, overH2C)
		client := h2client.New(t)
		stream, _ := client.Connect(s.URL, h2client.WebSocket())
		c := websocket.New(stream, websocket.Client, websocket.Config{})
		_ = c.Write(websocket.Text, []byte("hello"))
		if _, _, err := c.Read(); err != nil || h.Relays() != 1 {
			t.Fatal(err, h.Relays())
		}
		read := make(chan error)
		go func() {
			_, _, err := c.Read()
			read <- err
		}()
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := wait(t, read, "the client's end"); relay != nil && websocket.CloseCode(err) != websocket.ServiceRestart || err == nil {
			t.Error(err)
		}
		if err := wait(t, ended, "the upstream's end"); relay != nil && websocket.CloseCode(err) != websocket.GoingAway {
			t.Error(err)
		}
		if res, _ := client.Refused(s.URL, h2client.WebSocket()); res.StatusCode != http.StatusServiceUnavailable {
			t.Error(res.Status)
		}
		_ = c.CloseNow()
	}
}
