package deliver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestMain(m *testing.M) { leak.Main(m) }

// factory serves a configuration: each session implementation has one, and the
// tests that take a factory are run with all of them.
type factory struct {
	name  string
	serve func(t testing.TB, cfg deliver.Config) *httptest.Server
	h2    bool // sockets are opened over HTTP/2
}

var factories = []factory{
	{"goroutines", func(t testing.TB, cfg deliver.Config) *httptest.Server {
		return started(t, unstarted(cfg))
	}, false},
	{"engine", func(t testing.TB, cfg deliver.Config) *httptest.Server {
		cfg.Engine = fanout.New(fanout.Config{Shards: 2})
		s := unstarted(cfg)
		t.Cleanup(func() { _ = cfg.Engine.Close() }) // after the server's, so that no connection is taken any more
		return started(t, s)
	}, false},
	{"goroutines, sockets over HTTP/2", func(t testing.TB, cfg deliver.Config) *httptest.Server {
		return startedH2C(t, unstarted(cfg))
	}, true},
}

// startedH2C starts a server that speaks HTTP/2 without TLS too.
func startedH2C(t testing.TB, s *httptest.Server) *httptest.Server {
	t.Helper()
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	return started(t, s)
}

func started(t testing.TB, s *httptest.Server) *httptest.Server {
	t.Helper()
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// each runs a test with every implementation.
func each(t *testing.T, test func(t *testing.T, serve func(deliver.Config) *site)) {
	t.Helper()
	for _, f := range factories {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, func(cfg deliver.Config) *site {
				if cfg.Topics == nil {
					cfg.Topics = topic.NewStore(topic.StoreConfig{})
				}
				cfg.AllowPublish = cfg.AllowPublish || cfg.PublishToken == ""
				s := &site{t: t, url: f.serve(t, cfg).URL, topics: cfg.Topics}
				if f.h2 {
					s.h2 = h2client.New(t)
				}
				return s
			})
		})
	}
}

// site is a server under test.
type site struct {
	t      *testing.T
	url    string
	topics *topic.Store
	h2     *h2client.Client // for sockets; nil: HTTP/1.1
}

// ws returns the path as a WebSocket URL.
func (s *site) ws(path string) string { return "ws" + strings.TrimPrefix(s.url, "http") + path }

// answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request. Headers are "Name: value".
func (s *site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	resp := s.open(method, path, strings.NewReader(body), headers...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (s *site) open(method, path string, body io.Reader, headers ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// publish publishes text and returns its cursor.
func (s *site) publish(name, data string, headers ...string) fairlead.Cursor {
	s.t.Helper()
	a := s.do("POST", "/topics/"+name, data, append([]string{"Content-Type: text/plain"}, headers...)...)
	if a.status != 201 {
		s.t.Fatalf("publish: %d %s", a.status, a.body)
	}
	return decode[struct{ Cursor fairlead.Cursor }](s.t, a.body).Cursor
}

func (s *site) page(path string, headers ...string) wire.Page {
	s.t.Helper()
	a := s.do("GET", path, "", append([]string{"Accept: application/json"}, headers...)...)
	if a.status != 200 {
		s.t.Fatalf("page: %d %s", a.status, a.body)
	}
	return decode[wire.Page](s.t, a.body)
}

func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

// events is an open event stream.
type events struct {
	t testing.TB
	*sse.Decoder
	resp *http.Response
}

func (s *site) events(path string, headers ...string) *events {
	s.t.Helper()
	resp := s.open("GET", path, http.NoBody, append([]string{"Accept: text/event-stream"}, headers...)...)
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("stream: %s %s", resp.Status, text)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return newEvents(s.t, resp)
}

func newEvents(t testing.TB, resp *http.Response) *events {
	return &events{t, sse.NewDecoder(resp.Body), resp}
}

func (e *events) next() sse.Event {
	e.t.Helper()
	event, err := e.Next()
	if err != nil {
		e.t.Fatal(err)
	}
	return event
}

// expect reads events and fails unless their data is as given.
func (e *events) expect(data ...string) (last fairlead.Cursor) {
	e.t.Helper()
	for _, want := range data {
		if got := e.next(); string(got.Data) != want {
			e.t.Fatalf("got %q %q, want %q", got.Type, got.Data, want)
		}
	}
	return fairlead.Cursor(e.LastEventID())
}

func (e *events) close() { e.resp.Body.Close() }

// sock is an open WebSocket.
type sock struct {
	t testing.TB
	*websocket.Conn
}

// message is anything a server sends on a WebSocket.
type message struct {
	wire.Message
	wire.Envelope

	text string
}

func (m message) data() string {
	v := m.Envelope
	if m.Message.Event != nil {
		v = *m.Message.Event
	}
	e := v.Event()
	return string(e.Data)
}

func (s *site) socket(path string, protocols ...string) *sock {
	s.t.Helper()
	conn, _, err := s.handshake(path, nil, protocols)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	return &sock{s.t, conn}
}

// handshake opens a WebSocket; the response says how it was refused.
func (s *site) handshake(path string, header http.Header, protocols []string) (*websocket.Conn, *http.Response, error) {
	if s.h2 == nil {
		return websocket.Dial(s.t.Context(), s.ws(path), websocket.DialConfig{Config: websocket.Config{Subprotocols: protocols}, Header: header})
	}
	h := h2client.WebSocket()
	maps.Copy(h, header)
	if len(protocols) > 0 {
		h.Set("Sec-WebSocket-Protocol", strings.Join(protocols, ", "))
	}
	stream, resp := s.h2.Connect(s.url+path, h)
	if resp.StatusCode != http.StatusOK {
		return nil, resp, errors.New(resp.Status)
	}
	if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != strings.Join(protocols, ", ") {
		s.t.Errorf("it speaks %q, not %q", got, protocols)
	}
	return websocket.New(stream, websocket.Client, websocket.Config{}), resp, nil
}

func (s *sock) send(format string, args ...any) {
	s.t.Helper()
	if err := s.Write(websocket.Text, fmt.Appendf(nil, format, args...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sock) next() message {
	s.t.Helper()
	kind, p, err := s.Read()
	if err != nil || kind != websocket.Text {
		s.t.Fatalf("read: %v %v", kind, err)
	}
	m := message{text: string(p)}
	if err := json.Unmarshal(p, &struct {
		*wire.Message
		*wire.Envelope
	}{&m.Message, &m.Envelope}); err != nil {
		s.t.Fatalf("%s: %v", p, err)
	}
	return m
}

func (s *sock) expect(data ...string) (last fairlead.Cursor) {
	s.t.Helper()
	for _, want := range data {
		m := s.next()
		if m.data() != want {
			s.t.Fatalf("got %s, want %q", m.text, want)
		}
		last = m.Cursor
	}
	return last
}

// closed reads to the end and returns the close code and reason.
func (s *sock) closed() (code int, reason string) {
	s.t.Helper()
	for {
		if _, _, err := s.Read(); err != nil {
			if c, ok := errors.AsType[*websocket.CloseError](err); ok {
				reason = c.Reason
			}
			return websocket.CloseCode(err), reason
		}
	}
}
