package listen_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

// tickets tells of each session ticket that a client gets.
type tickets struct {
	tls.ClientSessionCache

	put chan struct{}
}

func (c tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	select {
	case c.put <- struct{}{}:
	default:
	}
}

// deafConn hears nothing until it may: its client cannot complete a handshake.
type deafConn struct {
	net.PacketConn

	may chan struct{}
}

func (c *deafConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, a, err := c.PacketConn.ReadFrom(p)
	<-c.may
	return n, a, err
}

// resume returns a connection with early data to send, whose handshake is
// complete only after hear was called.
func resume(t *testing.T, h *h3Server) (conn *quic.Conn, hear func()) {
	t.Helper()
	conf := h.tls()
	cache := tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	conf.ClientSessionCache = cache
	conf.NextProtos = []string{http3.NextProtoH3}
	first, err := h.dial(t)(t.Context(), "", conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-cache.put
	_ = first.CloseWithError(0, "")

	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	deaf := &deafConn{udp, make(chan struct{})}
	tr := &quic.Transport{Conn: deaf}
	open := false
	hear = func() {
		if !open {
			open = true
			close(deaf.may)
		}
	}
	t.Cleanup(func() {
		hear()
		_ = tr.Close()
		_ = udp.Close()
	})
	dialed := make(chan error, 1)
	go func() {
		var err error
		conn, err = tr.DialEarly(t.Context(), h.addr, conf, nil)
		dialed <- err
	}()
	if err = <-dialed; err != nil {
		t.Fatal(err)
	}
	return conn, hear
}

func TestASafeRequestIsServedFromEarlyDataAndAnotherWaits(t *testing.T) {
	early := make(chan string, 1)
	h := startH3(t, listen.Config{
		QUIC: listen.QUIC{EarlyData: func(r *http.Request) bool { return r.URL.Path == "/early" }},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen := fmt.Sprintf("%s %s %t %q", r.Method, r.URL.Path, r.TLS.HandshakeComplete, r.Header.Get("Early-Data"))
			if r.URL.Path == "/early" && r.Method == http.MethodGet {
				early <- seen
			}
			fmt.Fprint(w, seen)
		}),
	})
	conn, hear := resume(t, h)
	cc := (&http3.Transport{}).NewClientConn(conn)
	send := func(method, path string) *http3.RequestStream {
		s, err := cc.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), method, h.url+path, nil)
		if err = s.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		return s
	}
	post, late, soon := send(http.MethodPost, "/early"), send(http.MethodGet, "/late"), send(http.MethodGet, "/early")
	// The client hears nothing yet: this is from the early data.
	if got, want := <-early, `GET /early false "1"`; got != want {
		t.Errorf("early: %s, want %s", got, want)
	}
	hear()
	for s, want := range map[*http3.RequestStream]string{
		post: `POST /early true ""`, late: `GET /late true ""`, soon: `GET /early false "1"`,
	} {
		res, err := s.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, _ := res.Body.Read(b)
		if got := string(b[:n]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !conn.ConnectionState().Used0RTT {
		t.Error("0-RTT was not used")
	}
	_ = conn.CloseWithError(0, "")
}

func TestWithoutLeaveThereIsNoEarlyData(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%t %q", r.TLS.HandshakeComplete, r.Header.Get("Early-Data"))
	})})
	conf := h.tls()
	cache := tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	conf.ClientSessionCache = cache
	for i := range 2 {
		tr := &http3.Transport{TLSClientConfig: conf, Dial: h.dial(t)}
		var used *quic.Conn
		dial := tr.Dial
		tr.Dial = func(ctx context.Context, a string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			c, err := dial(ctx, a, conf, qc)
			used = c
			return c, err
		}
		req, _ := http.NewRequestWithContext(t.Context(), http3.MethodGet0RTT, h.url, nil)
		req.Header.Set("Early-Data", "1") // a hop before this one says so
		_, body := do(t, &http.Client{Transport: tr}, req)
		if body != `true "1"` {
			t.Errorf("got %s", body)
		}
		if state := used.ConnectionState(); state.Used0RTT || state.TLS.DidResume != (i == 1) {
			t.Errorf("connection %d: 0-RTT %t, resumed %t", i, state.Used0RTT, state.TLS.DidResume)
		}
		if i == 0 {
			<-cache.put
		}
		_ = tr.Close()
	}
}

func TestARequestFromEarlyDataEndsWithItsConnection(t *testing.T) {
	asked := make(chan struct{})
	h := startH3(t, listen.Config{
		QUIC: listen.QUIC{EarlyData: func(*http.Request) bool {
			close(asked)
			return false
		}},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("%s was served", strings.ToLower(r.Method))
		}),
	})
	conn, _ := resume(t, h)
	cc := (&http3.Transport{}).NewClientConn(conn)
	s, err := cc.OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
	if err = s.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	<-asked
	_ = h.Close() // and waits for the handler
}
