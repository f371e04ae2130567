package listen_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// wire is a network that can be cut.
type wire struct {
	simnet.PerfectRouter

	cut atomic.Bool
}

func (r *wire) SendPacket(p simnet.Packet) error {
	if r.cut.Load() {
		return nil
	}
	return r.PerfectRouter.SendPacket(p)
}

// simulate serves cfg in a bubble of simulated time and network, and connects a
// client.
func simulate(t *testing.T, cfg listen.Config, test func(conn *quic.Conn, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		certs, roots := h3Certificate(t)
		cfg.TLS = &listen.TLS{Certificates: certs}
		s, err := listen.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := new(wire)
		sim := &simnet.Simnet{Router: w}
		link := simnet.NodeBiDiLinkSettings{Latency: 10 * time.Millisecond}
		here := sim.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 1), Port: 443}, link)
		there := sim.NewEndpoint(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 9000}, link)
		if err = sim.Start(); err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(memnet.New(), here) }()
		tr := &quic.Transport{Conn: there}
		h := &h3Server{roots: roots}
		conf := h.tls()
		conf.NextProtos = []string{http3.NextProtoH3}
		conn, err := tr.Dial(t.Context(), here.LocalAddr(), conf, &quic.Config{MaxIdleTimeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		test(conn, w)
		_ = s.Close()
		if err = <-served; err != nil {
			t.Error(err)
		}
		_ = tr.Close()
		_ = there.Close()
		_ = sim.Close()
		time.Sleep(time.Minute) // what quic-go keeps of closed connections ends
	})
}

func request(t *testing.T, c *http3.ClientConn) *http.Response {
	t.Helper()
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://localhost/", nil)
	res, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// ended waits for the end of a connection and returns how long that took.
func ended(t *testing.T, conn *quic.Conn) time.Duration {
	t.Helper()
	from := time.Now()
	<-conn.Context().Done()
	if e := (*quic.ApplicationError)(nil); !errors.As(context.Cause(conn.Context()), &e) || e.ErrorCode != 0x100 {
		t.Errorf("the connection ended by %v", context.Cause(conn.Context()))
	}
	return time.Since(from).Round(time.Second)
}

func TestAnIdleConnectionOfHTTP3IsAskedToGo(t *testing.T) {
	simulate(t, listen.Config{Handler: http.NotFoundHandler()}, func(conn *quic.Conn, _ *wire) {
		c := (&http3.Transport{}).NewClientConn(conn)
		time.Sleep(30 * time.Second)
		_ = request(t, c).Body.Close()
		if d := ended(t, conn); d != 75*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestAConnectionOfHTTP3WithoutARequestEndsThoughItsClientStaysAwake(t *testing.T) {
	simulate(t, listen.Config{Handler: http.NotFoundHandler()}, func(conn *quic.Conn, _ *wire) {
		str, err := conn.OpenStream() // a header that never ends
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			_, _ = str.Write([]byte{1, 0x40, 0xff})
			for {
				select {
				case <-tick.C:
					_, _ = str.Write([]byte{0})
				case <-stop:
					return
				}
			}
		}()
		if d := ended(t, conn); d != 77*time.Second { // asked after 75 s, made to after 2 s
			t.Errorf("after %v", d)
		}
		close(stop)
	})
}

func TestAnOldConnectionOfHTTP3IsAskedToGoAndKeepsItsRequests(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		time.Sleep(3 * time.Hour) // longer than any bound: a stream is never cut
		_, _ = w.Write([]byte("end"))
	})
	simulate(t, listen.Config{Handler: h}, func(conn *quic.Conn, _ *wire) {
		c := (&http3.Transport{}).NewClientConn(conn)
		from := time.Now()
		res := request(t, c)
		defer res.Body.Close()
		b := make([]byte, 3)
		if n, _ := res.Body.Read(b); string(b[:n]) != "end" {
			t.Errorf("read %q", b[:n])
		}
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://localhost/", nil)
		if _, err := c.RoundTrip(req); err == nil {
			t.Error("the client was not asked to go")
		}
		_, _ = res.Body.Read(b)
		<-conn.Context().Done()
		if d := time.Since(from).Round(time.Second); d != 3*time.Hour {
			t.Errorf("after %v", d)
		}
	})
}

func TestAClientOfHTTP3ThatVanishedIsNoticed(t *testing.T) {
	var gone atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone.Store(time.Now().UnixNano())
	})
	simulate(t, listen.Config{Handler: h, Timeouts: listen.Timeouts{MaxAge: -1}}, func(conn *quic.Conn, w *wire) {
		c := (&http3.Transport{}).NewClientConn(conn)
		res := request(t, c)
		defer res.Body.Close()
		time.Sleep(time.Hour) // a silent stream is kept alive
		w.cut.Store(true)
		cut := time.Now()
		time.Sleep(90 * time.Second)
		if d := time.Duration(gone.Load() - cut.UnixNano()); d < 30*time.Second {
			t.Errorf("after %v", d)
		}
		_ = conn.CloseWithError(0, "")
	})
}
