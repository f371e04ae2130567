package listen_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

// connect sends an extended CONNECT.
func connect(t *testing.T, h *h3Server, protocol string) (*http3.RequestStream, *http.Response) {
	t.Helper()
	conf := h.tls()
	conf.NextProtos = []string{http3.NextProtoH3}
	conn, err := h.dial(t)(t.Context(), "", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	cc := (&http3.Transport{}).NewClientConn(conn)
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	<-cc.ReceivedSettings()
	if !cc.Settings().EnableExtendedConnect {
		t.Error("SETTINGS_ENABLE_CONNECT_PROTOCOL was not sent")
	}
	s, err := cc.OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(h.url + "/chat?x=1")
	req := &http.Request{Method: http.MethodConnect, Proto: protocol, URL: u, Host: u.Host, Header: http.Header{}}
	if err = s.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	res, err := s.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	return s, res
}

func TestAWebSocketOverHTTP3IsAStreamOfBytes(t *testing.T) {
	deadline, closed := make(chan error, 1), make(chan error, 1)
	h := startH3(t, listen.Config{
		QUIC: listen.QUIC{WebSocket: true},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "websocket" || r.Proto != "HTTP/3.0" || r.URL.String() != "/chat?x=1" {
				t.Errorf("%s %s %s %v", r.Method, r.URL, r.Proto, r.Header)
			}
			ctl := http.NewResponseController(w)
			w.WriteHeader(http.StatusOK)
			_ = ctl.Flush()
			b := make([]byte, 100)
			for range 3 { // echo
				n, err := r.Body.Read(b)
				if err != nil {
					t.Error(err)
				}
				_, _ = w.Write(b[:n])
				_ = ctl.Flush()
			}
			if err := ctl.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Error(err)
			}
			_, err := r.Body.Read(b)
			deadline <- err
			_ = ctl.SetReadDeadline(time.Time{})
			_ = ctl.SetWriteDeadline(time.Now().Add(time.Hour))
			reading := make(chan struct{})
			go func() {
				close(reading)
				_, err := r.Body.Read(b)
				closed <- err
			}()
			<-reading
			_ = r.Body.Close() // ends the read of another goroutine
			<-closed
			_, _ = io.WriteString(w, "bye")
		}),
	})
	s, res := connect(t, h, "websocket")
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Length") != "" {
		t.Fatalf("status %d, header %v", res.StatusCode, res.Header)
	}
	b := make([]byte, 100)
	for _, msg := range []string{"one", "two", "three"} {
		if _, err := s.Write([]byte(msg)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(b); string(b[:n]) != msg || err != nil {
			t.Fatalf("got %q, %v; want %q", b[:n], err, msg)
		}
	}
	if err := <-deadline; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if rest, err := io.ReadAll(s); string(rest) != "bye" || err != nil {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

func TestProtocolsThatAreNotSpokenAreAnswered501(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.NotFoundHandler(), QUIC: listen.QUIC{WebSocket: true}})
	if _, res := connect(t, h, "connect-udp"); res.StatusCode != http.StatusNotImplemented {
		t.Errorf("connect-udp: %d", res.StatusCode)
	}
	off := startH3(t, listen.Config{Handler: http.NotFoundHandler()})
	if _, res := connect(t, off, "websocket"); res.StatusCode != http.StatusNotImplemented {
		t.Errorf("websocket where it is off: %d", res.StatusCode)
	}
}
