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

// bubble is a client with a connection to a server, in simulated time and
// network.
type bubble struct {
	*wire

	t    *testing.T
	cfg  listen.Config
	stop func()
	conn *quic.Conn
}

var (
	here  = &net.UDPAddr{IP: net.IPv4(1, 0, 0, 1), Port: 443}
	there = &net.UDPAddr{IP: net.IPv4(1, 0, 0, 2), Port: 9000}
)

// plug returns a socket at the end of a link of 10 ms, and a function that unplugs it.
func (b *bubble) plug(addr *net.UDPAddr) (socket net.PacketConn, unplug func()) {
	sim := &simnet.Simnet{Router: b.wire}
	conn := sim.NewEndpoint(addr, simnet.NodeBiDiLinkSettings{Latency: 10 * time.Millisecond})
	if err := sim.Start(); err != nil {
		b.t.Fatal(err)
	}
	return conn, func() {
		_ = conn.Close()
		_ = sim.Close()
	}
}

// serve starts a server.
func (b *bubble) serve() {
	s, err := listen.New(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	udp, unplug := b.plug(here)
	served := make(chan error, 1)
	go func() { served <- s.Serve(memnet.New(), udp) }()
	b.stop = func() {
		_ = s.Close()
		if err := <-served; err != nil {
			b.t.Error(err)
		}
		unplug()
	}
}

// simulate calls test with a connection to a server that serves cfg.
func simulate(t *testing.T, cfg listen.Config, test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		certs, roots := h3Certificate(t)
		cfg.TLS = &listen.TLS{Certificates: certs, Tickets: listen.NewKeyring()}
		b := &bubble{wire: new(wire), t: t, cfg: cfg}
		b.serve()
		client, unplug := b.plug(there)
		tr := &quic.Transport{Conn: client}
		conf := (&h3Server{roots: roots}).tls()
		conf.NextProtos = []string{http3.NextProtoH3}
		var err error
		if b.conn, err = tr.Dial(t.Context(), here, conf, &quic.Config{MaxIdleTimeout: time.Hour}); err != nil {
			t.Fatal(err)
		}
		test(b)
		b.stop()
		_ = tr.Close()
		unplug()
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
	simulate(t, listen.Config{Handler: http.NotFoundHandler()}, func(b *bubble) {
		conn, c := b.conn, (&http3.Transport{}).NewClientConn(b.conn)
		time.Sleep(30 * time.Second)
		_ = request(t, c).Body.Close()
		if d := ended(t, conn); d != 75*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestAConnectionOfHTTP3WithoutARequestEndsThoughItsClientStaysAwake(t *testing.T) {
	simulate(t, listen.Config{Handler: http.NotFoundHandler()}, func(b *bubble) {
		conn := b.conn
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
	simulate(t, listen.Config{Handler: h}, func(b *bubble) {
		conn, c := b.conn, (&http3.Transport{}).NewClientConn(b.conn)
		from := time.Now()
		res := request(t, c)
		defer res.Body.Close()
		end := make([]byte, 3)
		if n, _ := res.Body.Read(end); string(end[:n]) != "end" {
			t.Errorf("read %q", end[:n])
		}
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://localhost/", nil)
		if _, err := c.RoundTrip(req); err == nil {
			t.Error("the client was not asked to go")
		}
		_, _ = res.Body.Read(end)
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
	simulate(t, listen.Config{Handler: h, Timeouts: listen.Timeouts{MaxAge: -1}}, func(b *bubble) {
		c := (&http3.Transport{}).NewClientConn(b.conn)
		res := request(t, c)
		defer res.Body.Close()
		time.Sleep(time.Hour) // a silent stream is kept alive
		b.cut.Store(true)
		cut := time.Now()
		time.Sleep(90 * time.Second)
		if d := time.Duration(gone.Load() - cut.UnixNano()); d < 30*time.Second {
			t.Errorf("after %v", d)
		}
		_ = b.conn.CloseWithError(0, "")
	})
}

func TestAServerThatHasTheKeysResetsTheConnectionsOfOneThatDied(t *testing.T) {
	simulate(t, listen.Config{Handler: http.NotFoundHandler()}, func(b *bubble) {
		_ = request(t, (&http3.Transport{}).NewClientConn(b.conn)).Body.Close()
		b.cut.Store(true)
		b.stop()
		b.serve()
		b.cut.Store(false)
		str, err := b.conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = str.Write([]byte("who are you?"))
		<-b.conn.Context().Done()
		if err = context.Cause(b.conn.Context()); !errors.As(err, new(*quic.StatelessResetError)) {
			t.Errorf("the connection ended by %v", err)
		}
	})
}
