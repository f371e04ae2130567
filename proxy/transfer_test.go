package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/websocket"
)

// watched starts a proxy whose handler can be asked.
func watched(t *testing.T, upstream *httptest.Server, cfg proxy.Config, configure ...func(*httptest.Server)) (*proxy.Handler, *httptest.Server) {
	t.Helper()
	h := handler(t, upstream, cfg)
	return h, serve(t, h, configure...)
}

// eventually asks h until one transfer is as it should be, and returns it.
func eventually(t *testing.T, h *proxy.Handler, what string, is func(proxy.Transfer) bool) proxy.Transfer {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(hang); ; <-tick.C {
		list := h.Transfers(10)
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i]
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s: %+v", what, list)
		}
	}
}

func TestAClientThatStoppedReadingIsSeenWaiting(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string][]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": {overTLS}} {
		for _, flood := range []string{"/flood", "/flood/known"} {
			t.Run(name+flood, func(t *testing.T) {
				t.Parallel()
				outcomes := make(chan proxy.Outcome, 1)
				h, s := watched(t, stalling(t, nil), proxy.Config{Observe: func(o proxy.Outcome) { outcomes <- o }}, configure...)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+flood, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := s.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				got := eventually(t, h, "a client that waits", func(x proxy.Transfer) bool { return x.ToClient.Waiting > time.Second })
				if to := got.ToClient; got.Kind != "body" || got.Remote == "" || to.Buffered <= 0 || to.Buffered > 36<<10 || to.Bytes == 0 || to.Last.Before(got.Since) ||
					got.ToUpstream != (proxy.Flow{}) || got.Unsent != -1 {
					t.Errorf("%+v", got)
				}
				if buffered, blocked := h.Backlog(); buffered != got.ToClient.Buffered || blocked != 1 {
					t.Errorf("%d bytes buffered, %d blocked", buffered, blocked)
				}
				_ = res.Body.Close()
				wait(t, outcomes, "the end")
				checkNone(t, h)
			})
		}
	}
}

// checkNone fails the test if something is still listed.
func checkNone(t *testing.T, h *proxy.Handler) {
	t.Helper()
	if list := h.Transfers(10); len(list) != 0 {
		t.Errorf("listed after the end: %+v", list)
	}
	if buffered, blocked := h.Backlog(); buffered != 0 || blocked != 0 {
		t.Errorf("after the end %d bytes are buffered, %d blocked", buffered, blocked)
	}
}

func TestAnUpstreamThatDoesNotTakeABodyIsSeenWaiting(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		<-release
	}))
	outcomes := make(chan proxy.Outcome, 1)
	h, s := watched(t, up, proxy.Config{Observe: func(o proxy.Outcome) { outcomes <- o }})
	c := dial(t, s).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for p := make([]byte, 32<<10); ; {
			if _, err := c.Conn.Write(p); err != nil {
				return
			}
		}
	}()
	got := eventually(t, h, "an upstream that waits", func(x proxy.Transfer) bool { return x.ToUpstream.Waiting > 100*time.Millisecond })
	if up := got.ToUpstream; up.Buffered == 0 || up.Bytes == 0 || up.Last.IsZero() || got.ToClient.Bytes != 0 {
		t.Errorf("%+v", got)
	}
	close(release)
	_ = c.Close()
	<-sent
	wait(t, outcomes, "the end")
	checkNone(t, h)
}

func TestAnUpgradeShowsBytesBothWays(t *testing.T) {
	t.Parallel()
	for protocol, kind := range map[string]string{"websocket": "websocket", "tcp": "upgrade"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			outcomes := make(chan proxy.Outcome, 1)
			h, s := watched(t, echo(t), proxy.Config{Observe: func(o proxy.Outcome) { outcomes <- o }})
			c := dial(t, s).send(strings.Replace(handshake, "Upgrade: websocket", "Upgrade: "+protocol, 1) + "\r\nping")
			c.response()
			if _, err := io.ReadFull(c, make([]byte, len("hello ping"))); err != nil {
				t.Fatal(err)
			}
			got := eventually(t, h, "its bytes", func(x proxy.Transfer) bool {
				return x.ToClient.Bytes == int64(len("hello ping")) && x.ToUpstream.Bytes == int64(len("ping"))
			})
			unsent := -1
			if runtime.GOOS == "linux" {
				unsent = 0
			}
			if got.Kind != kind || got.Remote != c.LocalAddr().String() || got.ToClient.Waiting != 0 || got.ToUpstream.Waiting != 0 || got.ToClient.Last.Before(got.Since) ||
				got.ToUpstream.Last.Before(got.Since) || got.ToClient.Buffered != 0 || got.Unsent != unsent {
				t.Errorf("%+v", got)
			}
			_ = c.Close()
			wait(t, outcomes, "the end")
			checkNone(t, h)
		})
	}
}

func TestARelayWhoseClientStoppedReadingIsSeenWaiting(t *testing.T) {
	t.Parallel()
	outcomes := make(chan proxy.Outcome, 1)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, websocket.Config{CheckOrigin: func(*http.Request) bool { return true }})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for p := make([]byte, 1<<20); c.Write(websocket.Binary, p) == nil; {
			continue
		}
	}))
	h, s := watched(t, up, proxy.Config{Relay: relayHastily, Observe: func(o proxy.Outcome) { outcomes <- o }})
	c := dial(t, s).send(handshake + "\r\n")
	c.response()
	got := eventually(t, h, "a client that waits", func(x proxy.Transfer) bool { return x.ToClient.Waiting > 100*time.Millisecond })
	if to := got.ToClient; got.Kind != "websocket" || to.Buffered <= 0 || to.Buffered > 32<<10 || to.Bytes == 0 || runtime.GOOS == "linux" && got.Unsent <= 0 {
		t.Errorf("%+v", got)
	}
	_ = c.Close()
	wait(t, outcomes, "the end")
	checkNone(t, h)
}

func TestABridgedWebSocketShowsBytesBothWays(t *testing.T) {
	t.Parallel()
	up, _, _ := sockets(t)
	outcomes := make(chan proxy.Outcome, 1)
	h, s := watched(t, up, proxy.Config{Relay: relayFrames, Observe: func(o proxy.Outcome) { outcomes <- o }}, overH2C)
	stream, _ := h2client.New(t).Connect(s.URL, h2client.WebSocket())
	c := websocket.New(stream, websocket.Client, websocket.Config{})
	if err := c.Write(websocket.Text, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(); err != nil {
		t.Fatal(err)
	}
	// A frame of a server has a header of 2 bytes, that of a client a mask of 4 besides.
	got := eventually(t, h, "its bytes", func(x proxy.Transfer) bool { return x.ToClient.Bytes == 7 && x.ToUpstream.Bytes == 11 })
	if got.Kind != "websocket" || got.Unsent != -1 {
		t.Errorf("%+v", got)
	}
	_ = c.Close(websocket.NormalClosure, "")
	wait(t, outcomes, "the end")
	checkNone(t, h)
}

// streamed answers each request with a body that is what the pipe it sends to
// feeds is given.
func streamed(t *testing.T, feeds chan<- *io.PipeWriter) *proxy.Handler {
	t.Helper()
	return proxy.New(proxy.Config{Target: target(t, "http://up.example"), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body, feed := io.Pipe()
		feeds <- feed
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, ContentLength: -1, Body: body, Request: r}, nil
	})})
}

func TestABodyIsListedFromItsFirstSecondOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, over, feeds := make(chan struct{}), make(chan struct{}), make(chan *io.PipeWriter, 1)
		h := streamed(t, feeds)
		go func() {
			defer close(over)
			h.ServeHTTP(&plain{ResponseWriter: httptest.NewRecorder(), gate: gate}, httptest.NewRequest(http.MethodGet, "/", nil))
		}()
		feed, began := <-feeds, time.Now()
		time.Sleep(999 * time.Millisecond)
		if list := h.Transfers(10); len(list) != 0 {
			t.Errorf("listed early: %+v", list)
		}
		time.Sleep(time.Millisecond)
		want := proxy.Transfer{Kind: "body", Remote: "192.0.2.1:1234", Since: began, Unsent: -1}
		check := func() {
			t.Helper()
			if list := h.Transfers(10); len(list) != 1 || list[0] != want {
				t.Errorf("\n%+v, want\n%+v", list, want)
			}
		}
		check()
		if list := h.Transfers(0); len(list) != 0 {
			t.Errorf("over the limit: %+v", list)
		}

		_, _ = feed.Write([]byte("stuck"))
		time.Sleep(3 * time.Second)
		want.ToClient = proxy.Flow{Buffered: 5, Waiting: 3 * time.Second}
		check()
		if buffered, blocked := h.Backlog(); buffered != 5 || blocked != 1 {
			t.Errorf("%d bytes buffered, %d blocked", buffered, blocked)
		}

		close(gate)
		synctest.Wait()
		time.Sleep(time.Second)
		want.ToClient = proxy.Flow{Bytes: 5, Last: time.Unix(0, began.Add(4*time.Second).UnixNano())}
		check()
		_ = feed.Close()
		<-over
		checkNone(t, h)
	})
}

func TestTheTransfersThatWaitLongestComeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, over, feeds := make(chan struct{}), make(chan struct{}), make(chan *io.PipeWriter, 1)
		h := streamed(t, feeds)
		var pipes []*io.PipeWriter
		for _, remote := range []string{"old", "slow", "stuck"} {
			go func() {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.RemoteAddr = remote
				h.ServeHTTP(&plain{ResponseWriter: httptest.NewRecorder(), gate: gate}, r)
				over <- struct{}{}
			}()
			pipes = append(pipes, <-feeds)
			time.Sleep(time.Second)
		}
		for _, i := range []int{2, 1} {
			_, _ = pipes[i].Write([]byte("x"))
			time.Sleep(time.Second)
		}
		var order []string
		for _, x := range h.Transfers(3) {
			order = append(order, x.Remote)
		}
		if strings.Join(order, " ") != "stuck slow old" {
			t.Errorf("%q", order)
		}
		if list := h.Transfers(1); len(list) != 1 || list[0].Remote != "stuck" {
			t.Errorf("%+v", list)
		}
		close(gate)
		for _, p := range pipes {
			_ = p.Close()
			<-over
		}
		checkNone(t, h)
	})
}
