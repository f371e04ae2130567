package daemon_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/websocket"
)

// openH2 opens a WebSocket over HTTP/2.
func openH2(t *testing.T, client *h2client.Client, url string, fields ...string) *websocket.Conn {
	t.Helper()
	s, res := client.Connect(url, h2client.WebSocket(fields...))
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %s %s", url, res.Status, text)
	}
	c := websocket.New(s, websocket.Client, websocket.Config{})
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestTheSettingsOfHTTP2OfferExtendedConnect(t *testing.T) {
	p := start(t, "drain: {window: 0s}", daemon.Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	framer := http2.NewFramer(conn, conn)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	f, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", f)
	}
	if v, _ := settings.Value(http2.SettingEnableConnectProtocol); v != 1 {
		t.Errorf("SETTINGS 8 is %d", v)
	}
}

func TestWebSocketsOverHTTP2ReachTopicsAndUpstreams(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(":protocol") != "" || r.ProtoMajor != 1 {
			t.Errorf("upstream saw %s %v", r.Proto, r.Header)
		}
		c, err := websocket.Accept(w, r, websocket.Config{})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read()
			if err != nil {
				return
			}
			_ = c.Write(kind, append([]byte("echo of "), message...))
		}
	}))
	defer up.Close()
	p := start(t, "drain: {window: 50ms}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /chat/**, upstream: u}]", daemon.Options{})
	client := h2client.New(t)
	answer(t, http.MethodPost, p.http+"/topics/news", "first")
	topic := openH2(t, client, p.http+"/topics/news?after=earliest")
	if _, message, err := topic.Read(); err != nil || !strings.Contains(string(message), "first") {
		t.Errorf("%s, %v", message, err)
	}
	chat := openH2(t, client, p.http+"/chat/room?secret=1")
	if err := chat.Write(websocket.Text, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := chat.Read(); err != nil || string(message) != "echo of hello" {
		t.Errorf("%s, %v", message, err)
	}
	if page := connections(t, p); page.InFlight["/chat/**"] != 1 || page.Relays["/chat/**"] != 1 || len(page.Sessions) != 1 {
		t.Errorf("%+v", page)
	}
	over := openH2(t, client, p.http+"/chat/room")
	if err := over.Close(websocket.NormalClosure, ""); err != nil {
		t.Error(err)
	}
	eventually(t, "the WebSocket that is over is logged", func() bool {
		log := p.log.String()
		return strings.Contains(log, `"method":"CONNECT","path":"/chat/room","route":"/chat/**","status":200`) && strings.Contains(log, `"proto":"HTTP/2.0"`)
	})
	if log := p.log.String(); strings.Contains(log, ":protocol") || strings.Contains(log, "secret") {
		t.Errorf("the log has too much: %s", log)
	}
	// How long it lasted says nothing about the server.
	_, metrics := answer(t, http.MethodGet, p.admin+"/metrics", "")
	if series := `_count{method="CONNECT",route="/chat/**"}`; !strings.Contains(metrics, "fairlead_http_first_byte_seconds"+series) ||
		strings.Contains(metrics, "fairlead_http_request_duration_seconds"+series) {
		t.Error("the metrics count it as a request that took long")
	}

	// A drain sends both away, each by the code for it.
	codes := make(chan int)
	for _, c := range []*websocket.Conn{topic, chat} {
		go func() {
			for {
				if _, _, err := c.Read(); err != nil {
					codes <- websocket.CloseCode(err)
					return
				}
			}
		}()
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	for range 2 {
		if code := <-codes; code != websocket.ServiceRestart {
			t.Errorf("closed with %d", code)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAnExtendedConnectIsJudgedLikeAnyRequest(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	p := start(t, "upstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /api/**, upstream: u}]", daemon.Options{})
	client := h2client.New(t)
	answer(t, http.MethodPost, p.http+"/topics/t", "first")
	for name, c := range map[string]struct {
		path   string
		header http.Header
		status int
	}{
		"another protocol":            {"/topics/t", h2client.WebSocket(":protocol", "connect-udp"), 501},
		"another protocol of a route": {"/api/x", h2client.WebSocket(":protocol", "webtransport"), 501},
		"a foreign origin":            {"/topics/t", h2client.WebSocket("Origin", "https://evil.example"), 403},
		"a foreign host":              {"/topics/t", h2client.WebSocket("Host", "evil.example"), 421},
		"an old version":              {"/topics/t", h2client.WebSocket("Sec-WebSocket-Version", "8"), 400},
		"nothing":                     {"/nowhere", h2client.WebSocket(), 404},
		"what the upstream has not":   {"/api/x", h2client.WebSocket(), 404},
		"a topic that is not there":   {"/topics/none", h2client.WebSocket(), 404},
		"an unknown subprotocol":      {"/topics", h2client.WebSocket("Sec-WebSocket-Protocol", "x"), 400},
		"a captured stream":           {"/.well-known/fairlead/streams/x", h2client.WebSocket(), 404},
	} {
		if res, body := client.Refused(p.http+c.path, c.header); res.StatusCode != c.status || body == "" {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
	}
	if res, _ := client.Refused(p.admin+"/connections", h2client.WebSocket()); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("the admin listener: %s", res.Status)
	}
}

func TestTheDeadlineOfADrainEndsWebSocketsOfHTTP2(t *testing.T) {
	p := start(t, "drain: {window: 0s, deadline: 100ms}\n"+socketUpstream(t)+"routes: [{path: /**, upstream: u}]", daemon.Options{})
	stream, res := h2client.New(t).Connect(p.http+"/x", h2client.WebSocket())
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if err := p.stop(); err != nil { // although the client answers no close
		t.Error(err)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(stream, head); err != nil || head[0] != 0x88 || int(head[2])<<8|int(head[3]) != websocket.ServiceRestart {
		t.Errorf("% x, %v", head, err)
	}
	_, _ = io.Copy(io.Discard, stream) // it ends, or its connection does: it has been told
}
