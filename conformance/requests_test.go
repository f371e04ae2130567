package conformance_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// requests is a connection of HTTP/3 whose requests are sent piece by piece.
type requests struct {
	t    *testing.T
	conn *quic.Conn
	http *http3.ClientConn
}

// connect opens a connection, and returns before the handshake's end where the
// client has been at the server before.
func connect(t *testing.T, address net.Addr, conf *tls.Config) requests {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport, h := &quic.Transport{Conn: socket}, new(http3.Transport)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	conn, err := transport.DialEarly(ctx, address, conf, &quic.Config{MaxIdleTimeout: patience})
	t.Cleanup(func() {
		cancel()
		if conn != nil {
			_ = conn.CloseWithError(0, "")
		}
		_ = h.Close()
		_ = transport.Close()
		socket.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return requests{t, conn, h.NewClientConn(conn)}
}

// begin sends a request's header, at once.
func (r requests) begin(method, path, accept string) *http3.RequestStream {
	r.t.Helper()
	str, err := r.http.OpenRequestStream(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "https://localhost"+path, nil)
	if err == nil {
		req.Header.Set("Accept", accept)
		_ = str.SetDeadline(time.Now().Add(patience))
		err = str.SendRequestHeader(req)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return str
}

// send sends a whole request, without a body.
func (r requests) send(method, path string) *http3.RequestStream {
	r.t.Helper()
	str := r.begin(method, path, "*/*")
	if err := str.Close(); err != nil {
		r.t.Fatal(err)
	}
	return str
}

// answer returns the status and the body of a request's answer.
func (r requests) answer(str *http3.RequestStream) string {
	r.t.Helper()
	res, err := str.ReadResponse()
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

// A request of HTTP/3 has no body if its stream ends behind the header, and
// the end may come later, in a packet of its own.
func TestARequestIsAnsweredWhoseEndIsStillToCome(t *testing.T) {
	t.Parallel()
	s := edge(t, "")
	s.publish("news", "0")
	address, err := net.ResolveUDPAddr("udp", s.https[len("https://"):])
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, address, authority().tls("h3"))
	for _, c := range []struct{ method, want string }{{"HEAD", "200"}, {"GET", "200"}, {"DELETE", "204"}} {
		str := client.begin(c.method, "/topics/news", "application/json")
		if got := client.answer(str); got[:3] != c.want {
			t.Errorf("a %s without its end is answered with %s, want %s", c.method, got, c.want)
		}
		_ = str.Close() // an error says that the server wants no more of it
	}
}
