package listen_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

func TestAConnectionThatTheClientResetsIsToldSo(t *testing.T) {
	t.Parallel()
	o := &told{}
	s := startTCP(t, listen.Config{Observer: o.observer()})
	conn, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if e := <-o.ended; e.Reason != listen.ResetByClient || e.Requests != 1 {
		t.Errorf("%+v", e)
	}
}

func TestAHandshakeThatFailsIsToldSo(t *testing.T) {
	certs, _ := h3Certificate(t)
	simulated(t, func(t *testing.T) {
		o := &told{}
		n := serve(t, listen.Config{Observer: o.observer(), TLS: &listen.TLS{Certificates: certs}}, http.NotFound)
		for sent, lasts := range map[string]time.Duration{"": 10 * time.Second, "\x16\x03\x01": 10 * time.Second, "GET / HTTP/1.1\r\n\r\n": 0} {
			conn := dial1(t, n)
			conn.send(sent)
			_, _ = io.Copy(io.Discard, conn)
			e := <-o.ended
			if e.Reason != listen.HandshakeFailed || e.Protocol != 0 || e.Requests != 0 || e.Lasted.Round(time.Second) != lasts {
				t.Errorf("after %q: %+v", sent, e)
			}
		}
		if len(o.shaken) != 0 {
			t.Errorf("%+v", o.shaken)
		}
	})
}

func TestWhyAConnectionOfHTTP2EndedIsTold(t *testing.T) {
	t.Parallel()
	ask := func(c *talk2) {
		c.ask("GET", "/", false)
		for f := c.frame(); f != nil && !(f.Header().StreamID > 0 && f.Header().Flags&1 != 0); f = c.frame() {
			_ = f
		}
	}
	gone := func(c *talk2) {
		for c.frame() != nil {
			continue
		}
	}
	cases := map[listen.CloseReason]func(c *talk2){
		listen.ClosedByClient: func(c *talk2) { ask(c); _ = c.conn.Close() },
		listen.IdleTimeout:    func(c *talk2) { ask(c); gone(c) },
		listen.ClientSilent:   func(c *talk2) { ask(c); _, _ = io.Copy(io.Discard, c.conn) }, // no answer to a PING
		listen.ClosedForFlood: func(c *talk2) {
			for range 2000 {
				if c.WritePing(false, [8]byte{}) != nil {
					break
				}
			}
		},
		listen.AgedOut: func(c *talk2) {
			ask(c)
			c.rest(67 * time.Second)
			ask(c)
			gone(c)
		},
		// A window of more than 2^31-1 is an error of the protocol.
		listen.ClosedByResponse: func(c *talk2) { ask(c); c.must(c.WriteWindowUpdate(0, 1<<31-1)); gone(c) },
	}
	for want, talk := range cases {
		t.Run(string(want), func(t *testing.T) {
			simulated(t, func(t *testing.T) {
				o := &told{}
				cfg := listen.Config{Observer: o.observer()}
				if want == listen.AgedOut {
					cfg.Timeouts = listen.Timeouts{Idle: time.Hour, MaxAge: time.Minute}
				}
				talk(dial2(t, serve(t, cfg, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a") })))
				if e := <-o.ended; e.Reason != want || want != listen.ClosedForFlood && e.Protocol != 2 {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

func TestAPageThatIsLeftWithAStreamOverHTTP2AndTLSIsClosedByTheClient(t *testing.T) {
	o := &told{}
	s := startH3(t, listen.Config{Observer: o.observer(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})})
	conf := s.tls()
	conf.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", s.tcp.Addr().String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	c := begin2(t, conn)
	c.ask("GET", "/", false)
	c.frame()
	_ = conn.Close()
	if e := <-o.ended; e.Reason != listen.ClosedByClient || e.Protocol != 2 || e.Requests != 1 || !e.TLS {
		t.Errorf("%+v", e)
	}
}

func TestAConnectionThatIsOldAndWasNotAskedToGoIsClosedByItsClient(t *testing.T) {
	simulated(t, func(t *testing.T) {
		o := &told{}
		n := serve(t, listen.Config{Observer: o.observer()}, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		conn := dial1(t, n)
		conn.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(3 * time.Hour)
		_ = conn.Close()
		if e := <-o.ended; e.Reason != listen.ClosedByClient || e.Lasted != 3*time.Hour {
			t.Errorf("%+v", e)
		}
	})
}

func TestAPeerThatDoesNotSendThePROXYHeaderIsTold(t *testing.T) {
	t.Parallel()
	o := &told{}
	s := startTCP(t, listen.Config{Observer: o.observer(), ProxyProtocol: loopback})
	silent, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	wrong, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if _, err := io.WriteString(wrong, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if e := <-o.ended; e.Reason != listen.ClosedByResponse || e.Remote != wrong.LocalAddr().String() {
		t.Errorf("%+v", e)
	}
	// To look does not wait for a header that does not come.
	if all := s.Connections(10); len(all) != 1 || all[0].Remote != silent.LocalAddr().String() {
		t.Errorf("%+v", all)
	}
}

func TestWhyAConnectionOfHTTP3EndedIsTold(t *testing.T) {
	t.Parallel()
	cases := map[listen.CloseReason]func(b *bubble, c *http3.ClientConn){
		listen.IdleTimeout:   func(b *bubble, c *http3.ClientConn) { _ = request(b.t, c).Body.Close() },
		listen.HeaderTimeout: func(*bubble, *http3.ClientConn) {},
		listen.ClientSilent:  func(b *bubble, c *http3.ClientConn) { _ = request(b.t, c).Body.Close(); b.cut.Store(true) },
		listen.ClosedByClient: func(b *bubble, c *http3.ClientConn) {
			_ = request(b.t, c).Body.Close()
			_ = b.conn.CloseWithError(0x100, "")
		},
		listen.AgedOut: func(b *bubble, c *http3.ClientConn) {
			for range 3 {
				res, err := c.RoundTrip(asked())
				if err != nil {
					break
				}
				_ = res.Body.Close()
				time.Sleep(time.Minute)
			}
		},
		listen.ClosedByResponse: func(b *bubble, c *http3.ClientConn) {
			r := asked()
			r.URL.Path = "/close"
			if res, err := c.RoundTrip(r); err == nil {
				_ = res.Body.Close()
				time.Sleep(time.Minute)
			}
		},
	}
	for want, talk := range cases {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			var end atomic.Pointer[listen.Ended]
			cfg := listen.Config{
				Observer: listen.Observer{Ended: func(e listen.Ended) { end.Store(&e) }},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/close" {
						w.Header().Set("Connection", "close")
					}
				}),
			}
			if want == listen.AgedOut {
				cfg.Timeouts = listen.Timeouts{Idle: time.Hour, MaxAge: time.Minute}
			}
			simulate(t, cfg, func(b *bubble) {
				talk(b, (&http3.Transport{}).NewClientConn(b.conn))
				time.Sleep(5 * time.Minute)
				if e := end.Load(); e == nil || e.Reason != want || e.Protocol != 3 && want != listen.HeaderTimeout {
					t.Errorf("%+v", e)
				}
				_ = b.conn.CloseWithError(0, "")
			})
		})
	}
}

func TestAClientOfHTTP3ThatVanishesInItsHandshakeFailedIt(t *testing.T) {
	var ended atomic.Pointer[listen.Ended]
	cfg := listen.Config{Handler: http.NotFoundHandler(), Observer: listen.Observer{Ended: func(e listen.Ended) {
		if e.Remote != there.String() {
			ended.Store(&e)
		}
	}}}
	simulate(t, cfg, func(b *bubble) {
		socket, unplug := b.plug(&net.UDPAddr{IP: net.IPv4(1, 0, 0, 3), Port: 9000})
		defer unplug()
		tr := &quic.Transport{Conn: socket}
		defer tr.Close()
		conf := (&h3Server{}).tls()
		conf.NextProtos = []string{http3.NextProtoH3}
		refused := make(chan error, 1)
		go func() {
			_, err := tr.Dial(b.t.Context(), here, conf, nil)
			refused <- err
		}()
		time.Sleep(15 * time.Millisecond) // the first packet has arrived, no answer has
		b.cut.Store(true)
		if err := <-refused; err == nil {
			t.Error("the handshake was finished")
		}
		time.Sleep(5 * time.Minute)
		if e := ended.Load(); e == nil || e.Reason != listen.HandshakeFailed || e.Protocol != 0 {
			t.Errorf("%+v", e)
		}
		_ = b.conn.CloseWithError(0, "")
	})
}

func asked() *http.Request {
	r, _ := http.NewRequest(http.MethodGet, "https://localhost/", nil) //nolint:noctx // of a bubble
	return r
}

func TestADrainOfHTTP3AndAHandshakeThatItsClientBreaksOffAreTold(t *testing.T) {
	o := &told{}
	s := startH3(t, listen.Config{Observer: o.observer(), Handler: http.NotFoundHandler()})
	conf := &tls.Config{ServerName: "localhost", NextProtos: []string{http3.NextProtoH3}} // and trusts nobody
	if conn, err := s.dial(t)(t.Context(), "", conf, nil); err == nil {
		<-conn.Context().Done()
	}
	if e := <-o.ended; e.Reason != listen.HandshakeFailed || e.Requests != 0 {
		t.Errorf("%+v", e)
	}
	get(t, s.client(t), s.url)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if e := <-o.ended; e.Reason != listen.ClosedByDrain || e.Protocol != 3 || e.Requests != 1 {
		t.Errorf("%+v", e)
	}
}

func TestAConnectionOfHTTP3AndHTTP2ThatResumesIsToldSo(t *testing.T) {
	o := &told{}
	s := startH3(t, listen.Config{Observer: o.observer(), Handler: http.NotFoundHandler()})
	for _, h3 := range []bool{false, true} {
		conf := s.tls()
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for range 2 {
			var c *http.Client
			if h3 {
				c = s.client(t)
				c.Transport.(*http3.Transport).TLSClientConfig = conf
			} else {
				c = s.client2(conf)
			}
			get(t, c, s.url)
			if closer, ok := c.Transport.(io.Closer); ok {
				_ = closer.Close()
			}
			c.CloseIdleConnections()
			<-o.ended
		}
	}
	var got []string
	for _, h := range o.shaken {
		got = append(got, fmt.Sprint(h.QUIC, h.Resumed, h.Took > 0, h.Version == tls.VersionTLS13))
	}
	if want := "[false false true true false true true true true false true true true true true true]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
}

func TestTheFirstByteOfAClientIsToldOnce(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var heard []time.Duration
		n := serve(t, listen.Config{Observer: listen.Observer{Heard: func(d time.Duration) { heard = append(heard, d) }}}, http.NotFound)
		conn := dial1(t, n)
		time.Sleep(2 * time.Second)
		conn.send("GET / HT")
		time.Sleep(time.Second)
		conn.send("TP/1.1\r\nHost: a\r\n\r\n")
		conn.answer("GET")
		synctest.Wait()
		if fmt.Sprint(heard) != "[2s]" {
			t.Errorf("%v", heard)
		}
	})
}
