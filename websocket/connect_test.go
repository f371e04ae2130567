package websocket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/websocket"
)

// serveH2 serves HTTP/1.1 and HTTP/2 without TLS.
func serveH2(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// held gives the test the server's end of each WebSocket. The handler returns
// once the test has closed it and released it.
func held(t *testing.T, cfg websocket.Config) (url string, conns chan *websocket.Conn, release func()) {
	t.Helper()
	conns, done := make(chan *websocket.Conn, 1), make(chan struct{})
	s := serveH2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, cfg)
		if err != nil {
			t.Error(err)
			return
		}
		conns <- c
		<-done
		_ = c.CloseNow()
	}))
	return s.URL, conns, func() { close(done) }
}

func TestMessagesPassOverHTTP2(t *testing.T) {
	t.Parallel()
	s := serveH2(t, echo(websocket.Config{Subprotocols: []string{"b", "a"}, Compression: true}))
	stream, res := h2client.New(t).Connect(s.URL, h2client.WebSocket("Sec-WebSocket-Protocol", "a, b",
		"Sec-WebSocket-Extensions", "permessage-deflate", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", s.URL))
	for name, want := range map[string]string{
		"Sec-Websocket-Protocol": "b", "Sec-Websocket-Accept": "", "Upgrade": "", "Content-Type": "",
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
	for _, message := range [][]byte{{}, []byte("hello"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16)} {
		wrote := make(chan error)
		go func() { wrote <- c.Write(websocket.Text, message) }()
		if _, got, err := c.Read(); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(message), err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	_, _ = stream.Write(join(masked(ws.OpText, false, "one "), masked(ws.OpPing, true, "p"), masked(ws.OpContinuation, true, "two")))
	if f := nextFrame(t, stream); f.Header.OpCode != ws.OpPong || string(f.Payload) != "p" {
		t.Errorf("got %+v", f)
	}
	if f := nextFrame(t, stream); f.Header.OpCode != ws.OpText || string(f.Payload) != "one two" {
		t.Errorf("got %+v", f)
	}
	if err := c.Close(4000, "bye"); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(stream); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestAHandshakeOfHTTP2IsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := serveH2(t, echo(websocket.Config{}))
	client := h2client.New(t)
	for name, c := range map[string]struct {
		header http.Header
		status int
		field  string
	}{
		"an old version":      {h2client.WebSocket("Sec-WebSocket-Version", "8"), 400, "Sec-Websocket-Version"},
		"no version":          {http.Header{":protocol": {"websocket"}}, 400, "Sec-Websocket-Version"},
		"another protocol":    {h2client.WebSocket(":protocol", "connect-ip"), 501, ""},
		"a page of elsewhere": {h2client.WebSocket("Origin", "http://evil.example"), 403, ""},
		"two origins":         {http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Origin": {s.URL, s.URL}}, 403, ""},
	} {
		res, body := client.Refused(s.URL, c.header)
		if res.StatusCode != c.status || body == "" || c.field != "" && res.Header.Get(c.field) == "" {
			t.Errorf("%s: %s %v %q", name, res.Status, res.Header, body)
		}
	}
	for method, status := range map[string]int{http.MethodGet: 400, http.MethodPost: 405} {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != status || res.Header.Get("Upgrade") != "" {
			t.Errorf("%s: %s %v", method, res.Status, res.Header)
		}
	}
}

func TestAHandshakeIsKnownByEitherForm(t *testing.T) {
	t.Parallel()
	request := func(method string, major int, fields ...string) *http.Request {
		r := httptest.NewRequest(method, "/", nil)
		r.ProtoMajor = major
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		return r
	}
	for _, c := range []struct {
		r    *http.Request
		want bool
	}{
		{request("GET", 1, "Upgrade", "WebSocket"), true},
		{request("CONNECT", 2, ":protocol", "websocket"), true},
		{request("CONNECT", 3, ":protocol", "websocket"), true},
		{request("CONNECT", 2, ":protocol", "connect-udp"), false},
		{request("CONNECT", 2), false},
		{request("CONNECT", 1, ":protocol", "websocket"), false},
		{request("POST", 1, "Upgrade", "websocket"), false},
		{request("GET", 2, ":protocol", "websocket"), false},
	} {
		if websocket.IsHandshake(c.r) != c.want {
			t.Errorf("%s %d %v: want %v", c.r.Method, c.r.ProtoMajor, c.r.Header, c.want)
		}
	}
}

func TestCloseCodesPassOverHTTP2(t *testing.T) {
	t.Parallel()
	url, conns, release := held(t, websocket.Config{})
	defer release()
	for _, fromServer := range []bool{true, false} {
		stream, _ := h2client.New(t).Connect(url, h2client.WebSocket())
		asks, answers := <-conns, websocket.New(stream, websocket.Client, websocket.Config{})
		if !fromServer {
			asks, answers = answers, asks
		}
		closed := make(chan error)
		go func() { closed <- asks.Close(4999, "why") }()
		_, _, err := answers.Read()
		if websocket.CloseCode(err) != 4999 || !strings.Contains(err.Error(), "why") {
			t.Errorf("from the server %v: %v", fromServer, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

func TestAClientThatResetsOrEndsItsStreamIsGone(t *testing.T) {
	t.Parallel()
	url, conns, release := held(t, websocket.Config{})
	defer release()
	for _, end := range []func(*h2client.Stream){
		(*h2client.Stream).Reset,
		func(s *h2client.Stream) { _ = s.Close() },
	} {
		stream, _ := h2client.New(t).Connect(url, h2client.WebSocket())
		c := <-conns
		read := make(chan error)
		go func() {
			_, _, err := c.Read()
			read <- err
		}()
		_, _ = stream.Write(masked(ws.OpText, false, "half a message"))
		end(stream)
		if err := <-read; websocket.CloseCode(err) != websocket.AbnormalClosure {
			t.Error(err)
		}
	}
}

func TestClosingFreesAReadOverHTTP2(t *testing.T) {
	t.Parallel()
	url, conns, release := held(t, websocket.Config{})
	stream, _ := h2client.New(t).Connect(url, h2client.WebSocket())
	c := <-conns
	read := make(chan error)
	go func() {
		_, _, err := c.Read()
		read <- err
	}()
	if err := c.CloseNow(); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := c.Write(websocket.Text, nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	release()
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestAClientOverHTTP2ThatReadsNothingHitsTheWriteTimeout(t *testing.T) {
	t.Parallel()
	url, conns, release := held(t, websocket.Config{WriteTimeout: 50 * time.Millisecond})
	defer release()
	client := h2client.New(t)
	stream, _ := client.Connect(url, h2client.WebSocket())
	slow := <-conns
	if err := slow.Write(websocket.Binary, make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("the stream ended as if all was said")
	}
	stream, _ = client.Connect(url, h2client.WebSocket()) // the connection lives
	other := <-conns
	if err := other.Write(websocket.Text, []byte("x")); err != nil {
		t.Error(err)
	}
	if f := nextFrame(t, stream); string(f.Payload) != "x" {
		t.Errorf("got %+v", f)
	}
}

// TestAMessageIsOneDATAFrame looks at the frames of HTTP/2 themselves.
func TestAMessageIsOneDATAFrame(t *testing.T) {
	t.Parallel()
	url, conns, release := held(t, websocket.Config{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	framer := http2.NewFramer(conn, conn)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "CONNECT"}, {Name: ":protocol", Value: "websocket"}, {Name: ":scheme", Value: "http"},
		{Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}, {Name: "sec-websocket-version", Value: "13"},
	} {
		_ = enc.WriteField(f)
	}
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = framer.WriteSettings()
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	c := <-conns
	sizes := []int{0, 5, 1000, 4094, 4095, 10_000}
	go func() {
		for _, n := range sizes {
			_ = c.Write(websocket.Binary, make([]byte, n))
		}
		release()
	}()
	var got []int
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		data, ok := f.(*http2.DataFrame)
		if !ok {
			continue
		}
		if data.StreamEnded() {
			break
		}
		got = append(got, int(data.Length))
	}
	for i, n := range sizes {
		header := 2
		if n > 125 {
			header = 4
		}
		if i >= len(got) || got[i] != header+n {
			t.Fatalf("messages of %v bytes made DATA frames of %v", sizes, got)
		}
	}
}
