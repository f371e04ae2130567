package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/proxy"
)

const handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://x\r\n"

// echo switches to the protocol asked for and returns every byte.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Connection") != "Upgrade" {
			http.Error(w, "no upgrade asked for", http.StatusUpgradeRequired)
			return
		}
		body, _ := io.ReadAll(r.Body)
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\n"+
			"Upgrade: "+r.Header.Get("Upgrade")+"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello "+string(body))
		_, _ = io.Copy(conn, brw.Reader)
	}))
}

func TestAWebSocketIsRelayed(t *testing.T) {
	t.Parallel()
	relayed := make(chan struct{}, 1)
	for name, relay := range map[string]func(context.Context, io.ReadWriteCloser, io.ReadWriteCloser) error{
		"by bytes": nil,
		"by a function": func(_ context.Context, client, upstream io.ReadWriteCloser) error {
			relayed <- struct{}{}
			both := make(chan error)
			go func() {
				_, err := io.Copy(client, upstream)
				both <- err
			}()
			_, err := io.Copy(upstream, client)
			_ = upstream.Close()
			<-both
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcomes := make(chan proxy.Outcome, 1)
			s := front(t, echo(t), proxy.Config{Relay: relay, Observe: func(o proxy.Outcome) { outcomes <- o }})
			// A frame sent with the handshake must not be lost.
			early := "\x81\x85abcd" + "early"
			c := dial(t, s).send(handshake + "\r\n" + early)
			res := c.response()
			if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
				res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" || res.Header.Get("X-Hop") != "" {
				t.Fatalf("%d %v", res.StatusCode, res.Header)
			}
			frame := "\x82\xfe\xff\xffabcd" + strings.Repeat("x", 1<<16-1)
			go func() { _, _ = io.WriteString(c.Conn, frame) }()
			got := make([]byte, len("hello ")+len(early)+len(frame))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte("hello "+early+frame)) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			_ = c.Close()
			if o := wait(t, outcomes, "the outcome"); o.Status != http.StatusSwitchingProtocols {
				t.Errorf("outcome %+v", o)
			}
			if relay != nil {
				wait(t, relayed, "the function")
			}
		})
	}
}

func TestOtherProtocolsUpgradeToo(t *testing.T) {
	t.Parallel()
	s := front(t, echo(t), proxy.Config{
		Relay: func(context.Context, io.ReadWriteCloser, io.ReadWriteCloser) error {
			return errors.New("not a WebSocket")
		},
	})
	c := dial(t, s).send("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c, tcp\r\nContent-Length: 4\r\n\r\nbody")
	if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "tcp" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	got := make([]byte, len("hello bodyping"))
	if _, err := io.ReadFull(c.send("ping"), got); err != nil || string(got) != "hello bodyping" {
		t.Errorf("%q %v", got, err)
	}
}

func TestAnUpgradeThatIsRefusedIsAnsweredAsUsual(t *testing.T) {
	t.Parallel()
	says := func(response string) *httptest.Server {
		return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, response)
		}))
	}
	no := func(*http.Request) bool { return false }
	for name, c := range map[string]struct {
		up     *httptest.Server
		cfg    proxy.Config
		status int
	}{
		"by the upstream":       {says("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"), proxy.Config{}, 403},
		"for its Origin":        {echo(t), proxy.Config{CheckOrigin: no}, 403},
		"another protocol":      {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"), proxy.Config{}, 502},
		"no protocol":           {says("HTTP/1.1 101 Switching Protocols\r\n\r\n"), proxy.Config{}, 502},
		"no status":             {says("HTTP/1.1 +50 What\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), proxy.Config{}, 502},
		"without a proper body": {echo(t), proxy.Config{Transport: readOnly{}}, 502},
	} {
		res, body := exchange(t, front(t, c.up, c.cfg), handshake+"\r\n")
		if res.StatusCode != c.status {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
}

// readOnly answers 101 with a body that cannot be written to.
type readOnly struct{}

func (readOnly) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols, Header: http.Header{"Upgrade": {"websocket"}},
		Body: io.NopCloser(strings.NewReader("")),
	}, nil
}

func TestCloseEndsAndJoinsRelays(t *testing.T) {
	t.Parallel()
	const stubborn, polite = "stubborn", "polite"
	for _, manner := range []string{"raw", polite, stubborn} {
		t.Run(manner, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{})
			cfg := proxy.Config{Relay: func(ctx context.Context, client, _ io.ReadWriteCloser) error {
				close(began)
				if manner == polite {
					<-ctx.Done()
					_, err := io.WriteString(client, "bye")
					return err
				}
				_, err := io.Copy(io.Discard, client) // until it is closed
				return err
			}}
			if manner == "raw" {
				cfg.Relay = nil
				close(began)
			}
			h := handler(t, echo(t), cfg)
			s := serve(t, h)
			c := dial(t, s).send(handshake + "\r\n")
			if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(res.StatusCode)
			}
			wait(t, began, "the relay")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if manner == stubborn {
				cancel()
			}
			if err := h.Close(ctx); (err != nil) != (manner == stubborn) {
				t.Errorf("close: %v", err)
			}
			if n := h.Relays(); n != 0 {
				t.Errorf("%d relays after Close", n)
			}
			rest, _ := io.ReadAll(c)
			if manner == polite && string(rest) != "bye" {
				t.Errorf("the client read %q", rest)
			}
			if res, body := exchange(t, s, handshake+"\r\n"); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("an upgrade after Close: %d %s", res.StatusCode, body)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Errorf("close again: %v", err)
			}
		})
	}
}

func TestTheUpstreamsEndIsPassedOn(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nlast words")
	})
	tr := proxy.NewTransport()
	t.Cleanup(tr.CloseIdleConnections)
	c := dial(t, serve(t, proxy.New(proxy.Config{Target: target(t, up), Transport: tr}))).send(handshake + "\r\n")
	_ = c.response()
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "last words" {
		t.Errorf("%q %v", rest, err)
	}
}
