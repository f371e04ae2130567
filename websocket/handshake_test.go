package websocket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/websocket"
)

// echo serves WebSockets that return each message.
func echo(cfg websocket.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, cfg)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, p, err := c.Read()
			if err != nil {
				return
			}
			if err := c.Write(kind, p); err != nil {
				return
			}
		}
	})
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// handshakeOf is a good handshake with some headers replaced; an empty value
// leaves one out.
func handshakeOf(start string, replaced ...string) string {
	if start == "" {
		start = "GET /chat HTTP/1.1"
	}
	headers := []string{
		"Host", "example.test", "Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for i := 0; i < len(replaced); i += 2 {
		if at := slices.Index(headers, replaced[i]); at >= 0 {
			headers = slices.Delete(headers, at, at+2)
		}
		headers = append(headers, replaced[i], replaced[i+1])
	}
	var b strings.Builder
	b.WriteString(start + "\r\n")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
		}
	}
	return b.String() + "\r\n"
}

// ask sends raw bytes and returns the answer with the stream behind it.
func ask(t *testing.T, s *httptest.Server, request string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, request)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, br, conn
}

func TestAHandshakeIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := serve(t, echo(websocket.Config{}))
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"good", handshakeOf(""), 101},
		{"same origin", handshakeOf("", "Origin", "https://EXAMPLE.test"), 101},
		{"POST", handshakeOf("POST /chat HTTP/1.1", "Content-Length", "0"), 405},
		{"HTTP/1.0", handshakeOf("GET /chat HTTP/1.0"), 426},
		{"no upgrade", handshakeOf("", "Upgrade", ""), 426},
		{"other upgrade", handshakeOf("", "Upgrade", "h2c"), 426},
		{"no connection", handshakeOf("", "Connection", ""), 426},
		{"connection that only looks right", handshakeOf("", "Connection", "not-upgrade"), 426},
		{"no version", handshakeOf("", "Sec-WebSocket-Version", ""), 426},
		{"version 8", handshakeOf("", "Sec-WebSocket-Version", "8"), 426},
		{"no key", handshakeOf("", "Sec-WebSocket-Key", ""), 400},
		{"short key", handshakeOf("", "Sec-WebSocket-Key", "c2hvcnQ="), 400},
		{"key not base64", handshakeOf("", "Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="), 400},
		{"foreign origin", handshakeOf("", "Origin", "https://evil.test"), 403},
		{"other port", handshakeOf("", "Origin", "https://example.test:444"), 403},
		{"null origin", handshakeOf("", "Origin", "null"), 403},
		{"origin in a longer name", handshakeOf("", "Origin", "https://example.test.evil.test"), 403},
	} {
		resp, _, _ := ask(t, s, c.request)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, resp.Status, c.status)
		}
		if c.status == 426 && (resp.Header.Get("Sec-WebSocket-Version") != "13" || resp.Header.Get("Upgrade") != "websocket") {
			t.Errorf("%s: 426 with %v", c.name, resp.Header)
		}
		if c.status == 405 && resp.Header.Get("Allow") != "GET" {
			t.Errorf("%s: 405 with %v", c.name, resp.Header)
		}
		// The vector of RFC 6455 §1.3.
		if c.status == 101 && resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("%s: 101 with %v", c.name, resp.Header)
		}
	}
}

func TestFramesSentRightBehindTheHandshakeAreRead(t *testing.T) {
	t.Parallel()
	s := serve(t, echo(websocket.Config{}))
	_, br, _ := ask(t, s, handshakeOf("")+string(masked(ws.OpText, true, "early")))
	if f := nextFrame(t, br); string(f.Payload) != "early" {
		t.Errorf("echo %q", f.Payload)
	}
}

func TestAPeerThatKeepsSendingStillLearnsWhyItWasClosed(t *testing.T) {
	t.Parallel()
	s := serve(t, echo(websocket.Config{}))
	_, br, conn := ask(t, s, handshakeOf(""))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		// Unread input would make the kernel reset the connection.
		_, _ = conn.Write(masked(ws.OpBinary, true, strings.Repeat("x", 16<<20)))
	}()
	if f := nextFrame(t, br); !strings.HasPrefix(string(f.Payload), closeBody(1009, "")) {
		t.Errorf("told %q, want 1009", f.Payload)
	}
	<-sent
	_, _ = conn.Write(masked(ws.OpClose, true, closeBody(1009, "")))
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want the end of the stream", err)
	}
}

func TestDeflateIsNegotiated(t *testing.T) {
	t.Parallel()
	const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	on := serve(t, echo(websocket.Config{Compression: true}))
	off := serve(t, echo(websocket.Config{}))
	for _, c := range []struct {
		s           *httptest.Server
		offer, want string
	}{
		{off, "permessage-deflate", ""},
		{on, "", ""},
		{on, "permessage-deflate", both},
		{on, "permessage-deflate; client_max_window_bits", both},
		{on, "permessage-deflate; server_max_window_bits=15", both + "; server_max_window_bits=15"},
		{on, "permessage-deflate; server_max_window_bits=10", ""},
		{on, "permessage-deflate; server_max_window_bits=10, permessage-deflate", both},
		{on, "permessage-deflate; server_max_window_bits=7", ""},
		{on, "permessage-deflate; unknown", ""},
		{on, "x-webkit-deflate-frame", ""},
		{on, "permessage-deflate; =", ""},
	} {
		resp, _, _ := ask(t, c.s, handshakeOf("", "Sec-WebSocket-Extensions", c.offer))
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); resp.StatusCode != 101 || got != c.want {
			t.Errorf("offer %q: %s, answer %q, want %q", c.offer, resp.Status, got, c.want)
		}
	}
}

func TestDialAndAcceptAgree(t *testing.T) {
	t.Parallel()
	cfg := websocket.Config{Compression: true, Subprotocols: []string{"v2", "v1"}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "seen="+strings.Join(websocket.Subprotocols(r), "+"))
		echo(cfg).ServeHTTP(w, r)
	})
	plainServer := serve(t, h)
	tlsServer := httptest.NewTLSServer(h)
	t.Cleanup(tlsServer.Close)
	for _, url := range []string{
		plainServer.URL, strings.Replace(plainServer.URL, "http", "ws", 1),
		tlsServer.URL, strings.Replace(tlsServer.URL, "https", "wss", 1),
	} {
		opt := websocket.DialConfig{TLS: tlsServer.Client().Transport.(*http.Transport).TLSClientConfig} //nolint:errcheck // httptest's
		opt.Compression, opt.Subprotocols = true, []string{"v0", "v1", "v2"}
		c, resp, err := websocket.Dial(t.Context(), url, opt)
		if err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != "v2" || !c.Compressed() || resp.Header.Get("Set-Cookie") != "seen=v0+v1+v2" {
			t.Errorf("%s: subprotocol %q, compressed %v, %v", url, c.Subprotocol(), c.Compressed(), resp.Header)
		}
		want := strings.Repeat("tick ", 1000)
		if err := c.Write(websocket.Text, []byte(want)); err != nil {
			t.Error(err)
		}
		if _, p, err := c.Read(); string(p) != want || err != nil {
			t.Errorf("Read %d bytes, %v", len(p), err)
		}
		if err := c.Close(websocket.NormalClosure, ""); err != nil {
			t.Error(err)
		}
	}
}

func TestDialSaysWhyThereIsNoWebSocket(t *testing.T) {
	t.Parallel()
	answer := func(head string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, head+"\r\n")
			_ = conn.Close()
		})
	}
	const up = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
	for _, c := range []struct {
		name   string
		h      http.Handler
		status int
		want   string
	}{
		{"refused", http.NotFoundHandler(), 404, "404 Not Found"},
		{"not HTTP", answer("SSH-2.0"), 0, "malformed"},
		{"other protocol", answer(up + "Upgrade: h2c\r\n"), 101, "other than websocket"},
		{"wrong accept", answer(up + "Upgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n"), 101, "Sec-WebSocket-Accept is wrong"},
		{"endless header", answer(up + "X: " + strings.Repeat("x", 1<<17)), 0, "unexpected EOF"},
	} {
		_, resp, err := websocket.Dial(t.Context(), serve(t, c.h).URL, websocket.DialConfig{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
		if (resp == nil) != (c.status == 0) || (resp != nil && resp.StatusCode != c.status) {
			t.Errorf("%s: response %v", c.name, resp)
		}
		if c.status == 404 {
			if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "not found") {
				t.Errorf("body %q, %v", body, err)
			}
		}
	}
	for _, url := range []string{"ftp://host/", "ws://", "ws://host/#part", "ws://[", "://"} {
		if _, _, err := websocket.Dial(t.Context(), url, websocket.DialConfig{}); err == nil {
			t.Errorf("Dial(%q): no error", url)
		}
	}
}

func TestAChoiceThatWasNotOfferedEndsTheHandshake(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"Sec-WebSocket-Protocol: other", "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: x",
	} {
		name, value, _ := strings.Cut(header, ": ")
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer func() { _ = server.Close() }()
				req, err := http.ReadRequest(bufio.NewReader(server))
				if err != nil {
					return
				}
				resp := http.Response{StatusCode: 101, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
					"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, name: {value},
					"Sec-Websocket-Accept": {acceptOf(t, req)},
				}}
				_ = resp.Write(server)
			}()
			return client, nil
		}
		if _, _, err := websocket.Dial(t.Context(), "ws://host/", websocket.DialConfig{NetDial: dial}); err == nil || !strings.Contains(err.Error(), "not offered") {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// acceptOf asks our own server for the answer to a key.
func acceptOf(t *testing.T, r *http.Request) string {
	t.Helper()
	s := memnet.Serve(t, &http.Server{Handler: echo(websocket.Config{}), ReadHeaderTimeout: time.Second}, nil)
	client, err := s.Dial(t.Context(), "", "")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = client.Close() }()
	if err := r.Write(client); err != nil {
		return err.Error()
	}
	resp, err := http.ReadResponse(bufio.NewReader(client), r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Header.Get("Sec-WebSocket-Accept")
}

func TestDialSendsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		echo(websocket.Config{}).ServeHTTP(w, r)
	}))
	header := http.Header{"Host": {"other.test"}, "X-Tenant": {"blue"}}
	url := strings.Replace(s.URL, "http://", "ws://ada:secret@", 1) + "/chat?room=1"
	c, _, err := websocket.Dial(t.Context(), url, websocket.DialConfig{Header: header})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(websocket.NormalClosure, "") }()
	r := <-got
	user, password, _ := r.BasicAuth()
	if r.Host != "other.test" || r.Header.Get("X-Tenant") != "blue" || user != "ada" || password != "secret" || r.RequestURI != "/chat?room=1" {
		t.Errorf("request for %s%s with %v", r.Host, r.RequestURI, r.Header)
	}
	if header.Get("Host") == "" {
		t.Error("the caller's header was changed")
	}
}

func TestDialReportsAConnectionThatCannotBeMade(t *testing.T) {
	t.Parallel()
	no := errors.New("no route")
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, no }
	if _, _, err := websocket.Dial(t.Context(), "ws://host/", websocket.DialConfig{NetDial: dial}); !errors.Is(err, no) {
		t.Errorf("Dial: %v", err)
	}
	s := serve(t, http.NotFoundHandler())
	if _, _, err := websocket.Dial(t.Context(), "wss://"+s.Listener.Addr().String(), websocket.DialConfig{}); err == nil || !strings.Contains(err.Error(), "tls") {
		t.Errorf("TLS to a plain server: %v", err)
	}
}

func TestAWriterThatCannotHandOverItsConnectionIsAnError(t *testing.T) {
	t.Parallel()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(handshakeOf(""))))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if _, err := websocket.Accept(w, r, websocket.Config{}); !errors.Is(err, http.ErrNotSupported) || w.Code != http.StatusInternalServerError {
		t.Errorf("Accept: %v with %d", err, w.Code)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	dial := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(server))
			cancel(errors.New("changed my mind"))
			_, _ = io.Copy(io.Discard, server)
			_ = server.Close()
		}()
		return client, nil
	}
	if _, _, err := websocket.Dial(ctx, "ws://host/", websocket.DialConfig{NetDial: dial}); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
}
