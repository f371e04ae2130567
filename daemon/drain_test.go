package daemon_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestADrainLetsRequestsAndCapturedStreamsFinish(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	slow := make(chan string, 1)
	go func() {
		res, err := http.Get(p.http + "/wait") //nolint:noctx // the test's end ends it
		if err != nil {
			slow <- err.Error()
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		slow <- fmt.Sprint(string(text), err)
	}()
	<-up.arrived
	if status, _ := answer(t, http.MethodPost, p.admin+"/drain", ""); status != http.StatusAccepted {
		t.Errorf("POST /drain: %d", status)
	}
	eventually(t, "it is not ready any more", func() bool {
		status, _ := answer(t, http.MethodGet, p.admin+"/readyz", "")
		return status == http.StatusServiceUnavailable
	})
	if res := request(t, http.MethodGet, p.http+"/x", ""); res.StatusCode != 200 || !res.Close {
		t.Errorf("during the window: %s, close %v", res.Status, res.Close)
	}
	up.lines <- "two"
	s.want("two")
	up.release <- struct{}{}
	if got := <-slow; got != "finished<nil>" {
		t.Errorf("the request in flight: %s", got)
	}
	close(up.lines)
	if _, _, _, err := s.next(); err != io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the captured stream ended with %v", err)
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.log.String(), `"msg":"drained"`) {
		t.Error("the log does not say that it drained")
	}
}

func TestTheDeadlineOfADrainResetsWhatIsLeft(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "drain: {window: 0s, deadline: 100ms}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /**, upstream: u}]", daemon.Options{})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if _, _, _, err := s.next(); err == nil || err == io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the stream that was cut off ended with %v", err)
	}
	if !strings.Contains(p.log.String(), "deadline passed") {
		t.Error("the log does not say that the deadline passed")
	}
}

// echoSocket is an upstream that sends back what it is sent.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, websocket.Config{})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read()
		if err != nil || c.Write(kind, message) != nil {
			return
		}
	}
}

// socketUpstream is the configuration of an upstream of WebSockets.
func socketUpstream(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := &http.Server{Handler: http.HandlerFunc(echoSocket)} //nolint:gosec // a test's server
	served := make(chan struct{})
	go func() { defer close(served); _ = up.Serve(l) }()
	t.Cleanup(func() { _ = up.Close(); <-served })
	return "upstreams: {u: {endpoints: [\"http://" + l.Addr().String() + "\"]}}\n"
}

// echo opens a WebSocket and sees that it works.
func echo(t *testing.T, p *program) *websocket.Conn {
	t.Helper()
	c, res, err := websocket.Dial(t.Context(), strings.Replace(p.http, "http", "ws", 1)+"/echo", websocket.DialConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if res.Body != nil {
		_ = res.Body.Close()
	}
	if err := c.Write(websocket.Text, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := c.Read(); err != nil || string(message) != "hello" {
		t.Errorf("%q, %v", message, err)
	}
	return c
}

func TestARelayedWebSocketIsToldThatTheServerGoesAway(t *testing.T) {
	p := start(t, "drain: {window: 50ms}\n"+socketUpstream(t)+"routes: [{path: /**, upstream: u}]", daemon.Options{})
	c := echo(t, p)
	if page := connections(t, p); page.Relays["/**"] != 1 {
		t.Errorf("relays: %v", page.Relays)
	}
	p.signals <- syscall.SIGTERM
	if _, _, err := c.Read(); websocket.CloseCode(err) != 1012 {
		t.Errorf("closed with %v, want 1012", err)
	}
	_ = c.CloseNow()
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.log.String(), `"status":101`) {
		t.Error("the relay was not logged")
	}
}

func TestASecondSignalTellsRelayedWebSocketsToComeBack(t *testing.T) {
	p := start(t, "drain: {window: 1h, deadline: 1h}\n"+socketUpstream(t)+"routes: [{path: /**, upstream: u}]", daemon.Options{})
	c := echo(t, p)
	p.signals <- syscall.SIGTERM
	p.signals <- syscall.SIGTERM
	if _, _, err := c.Read(); websocket.CloseCode(err) != 1012 {
		t.Errorf("closed with %v, want 1012", err)
	}
	_ = c.CloseNow()
	if err := p.wait(); err == nil {
		t.Error("a drain that was interrupted is no error")
	}
}

func TestTheRelaysOfAReplacedRouteAreListed(t *testing.T) {
	upstreams := socketUpstream(t)
	file := write(t, upstreams+"routes: [{path: /**, upstream: u}]")
	p := start(t, "", daemon.Options{Config: file})
	c := echo(t, p)
	reload(t, p, file, upstreams+"routes: [{path: /**, upstream: u, capture: off}]", readAgain)
	if page := connections(t, p); page.Relays["/**"] != 1 {
		t.Errorf("relays: %v", page.Relays)
	}
	_ = c.CloseNow()
}

func TestWhileACapturedCallGoesOnItsReadersMayComeBack(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "drain: {window: 1h, deadline: 1h}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /**, upstream: u}]", daemon.Options{})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	id := s.want("one")
	_ = s.res.Body.Close()
	eventually(t, "nothing is in flight", func() bool { return connections(t, p).InFlight["/**"] == 0 })
	p.signals <- syscall.SIGTERM
	eventually(t, "it drains", func() bool { return strings.Contains(p.log.String(), `"msg":"drain"`) })
	again := stream(t, p.http+"/stream", "Last-Event-ID", id)
	up.lines <- "two"
	again.want("two")
	close(up.lines)
	if _, _, _, err := again.next(); err != io.EOF { //nolint:errorlint // as it comes from bufio
		t.Errorf("the stream ended with %v", err)
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	if up.called() != 1 {
		t.Errorf("the upstream was called %d times", up.called())
	}
}

func TestAnIdleServerDrainsWithoutWaitingForTheWindow(t *testing.T) {
	p := start(t, "drain: {window: 1h, deadline: 1h}", daemon.Options{})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil { //nolint:bodyclose // it goes with the connection
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestDuringTheWindowAnIdleConnectionMayBeUsedOnceMore(t *testing.T) {
	p := start(t, "drain: {window: 1h, deadline: 1h}", daemon.Options{})
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	ask := func() *http.Response {
		_, _ = io.WriteString(c, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(in, &http.Request{Method: http.MethodHead})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := ask(); res.Close { //nolint:bodyclose // it goes with the connection
		t.Error("the server does not keep connections")
	}
	p.signals <- syscall.SIGTERM
	eventually(t, "it drains", func() bool { return strings.Contains(p.log.String(), `"msg":"drain"`) })
	if res := ask(); !res.Close { //nolint:bodyclose // it goes with the connection
		t.Error("the client is not told to close its connection")
	}
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}
