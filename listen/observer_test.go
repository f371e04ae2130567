package listen_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

// told is an Observer that keeps what it is told.
type told struct {
	mu     sync.Mutex
	shaken []listen.Handshake
	idled  []time.Duration
	asked  map[string]int // by protocol and whether it was the first
	ended  chan listen.Ended
}

func (o *told) observer() listen.Observer {
	o.ended, o.asked = make(chan listen.Ended, 100), make(map[string]int)
	return listen.Observer{
		Shaken: func(h listen.Handshake) { o.mu.Lock(); defer o.mu.Unlock(); o.shaken = append(o.shaken, h) },
		Idled:  func(d time.Duration) { o.mu.Lock(); defer o.mu.Unlock(); o.idled = append(o.idled, d) },
		Requested: func(protocol int, first bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.asked[fmt.Sprint(protocol, first)]++
		},
		Ended: func(e listen.Ended) { o.ended <- e },
	}
}

func TestWhyAConnectionEndedIsTold(t *testing.T) {
	t.Parallel()
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	cases := map[string]struct {
		limits listen.Limits
		talk   func(c *talk1)
		want   listen.CloseReason
		asked  int64
		lasted time.Duration
	}{
		"the client closes": {talk: func(c *talk1) { c.send(request); c.answer("GET"); _ = c.Close() }, want: listen.ClosedByClient, asked: 1},
		"it never asks":     {talk: func(c *talk1) { _ = c.ended() }, want: listen.HeaderTimeout, lasted: 10 * time.Second},
		"it never asks in full": {
			talk: func(c *talk1) { c.send("GET / HT"); _ = c.ended() }, want: listen.HeaderTimeout, lasted: 10 * time.Second,
		},
		"it asks no more": {talk: func(c *talk1) { c.send(request); c.answer("GET"); _ = c.ended() }, want: listen.IdleTimeout, asked: 1, lasted: 75 * time.Second},
		"it asked for the end": {
			talk: func(c *talk1) {
				c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				c.answer("GET")
				_ = c.ended()
			}, want: listen.ClosedByResponse, asked: 1,
		},
		"it is too old": {
			talk: func(c *talk1) {
				for range 40 {
					c.send(request)
					res, _ := c.answer("GET")
					if res.Close {
						break
					}
					time.Sleep(time.Minute + 58*time.Second) // longer than any idle time would be too long
				}
				_ = c.ended()
			}, want: listen.AgedOut,
		},
		"it is one too many": {
			limits: listen.Limits{Connections: 1}, talk: func(c *talk1) { c.send(request); c.answer("GET"); _ = c.ended() }, want: listen.RefusedByLimit, asked: 1,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			simulated(t, func(t *testing.T) {
				o := &told{}
				cfg := listen.Config{Observer: o.observer(), Limits: c.limits}
				if c.want == listen.AgedOut {
					cfg.Timeouts.Idle = time.Hour
				}
				n := serve(t, cfg, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a") })
				if c.limits.Connections == 1 {
					first := dial1(t, n)
					first.send(request)
					first.answer("GET")
				}
				c.talk(dial1(t, n))
				e := <-o.ended
				if e.Reason != c.want || c.asked > 0 && e.Requests != c.asked || c.lasted > 0 && e.Lasted.Round(time.Second) != c.lasted || e.TLS {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

func TestADrainIsTold(t *testing.T) {
	simulated(t, func(t *testing.T) {
		o := &told{}
		s := startMem(t, listen.Config{Observer: o.observer()})
		conn, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := ask(conn); err != nil {
			t.Fatal(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := <-o.ended; e.Reason != listen.ClosedByDrain || e.Protocol != 1 || e.Requests != 1 {
			t.Errorf("%+v", e)
		}
	})
}

func TestTheTimeBetweenRequestsIsTold(t *testing.T) {
	simulated(t, func(t *testing.T) {
		o := &told{}
		s := startMem(t, listen.Config{Observer: o.observer()})
		conn, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, pause := range []time.Duration{time.Second, time.Minute, 0} {
			if err := ask(conn); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
		}
		synctest.Wait()
		if fmt.Sprint(o.idled) != "[1s 1m0s]" || o.asked["1 true"] != 1 || o.asked["1 false"] != 2 {
			t.Errorf("%v, %v", o.idled, o.asked)
		}
		all := s.Connections(10)
		if len(all) != 1 || all[0].Requests != 3 || all[0].Active != 0 || all[0].Protocol != 1 || all[0].Path != nil {
			t.Errorf("%+v", all)
		}
		if all := s.Connections(0); len(all) != 0 || s.Listed() != 1 {
			t.Errorf("%+v of %d", all, s.Listed())
		}
	})
}

func TestHandshakesAreToldAndWhetherTheyResumed(t *testing.T) {
	t.Parallel()
	certs, roots := h3Certificate(t)
	o := &told{}
	s := startTCP(t, listen.Config{Observer: o.observer(), TLS: &listen.TLS{Certificates: certs}})
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		s.state(t, conf)
		if e := <-o.ended; e.Reason != listen.ClosedByClient || !e.TLS || e.Protocol != 1 {
			t.Errorf("%+v", e)
		}
	}
	if len(o.shaken) != 2 || o.shaken[0].Resumed || !o.shaken[1].Resumed || o.shaken[0].Version != tls.VersionTLS13 || o.shaken[0].Took <= 0 || o.shaken[0].QUIC {
		t.Errorf("%+v", o.shaken)
	}
	// One that does not know who signed.
	if _, err := s.shake(t, &tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("the certificate is trusted")
	}
	if e := <-o.ended; e.Reason != listen.HandshakeFailed && e.Reason != listen.ClosedByClient || e.Requests != 0 {
		t.Errorf("%+v", e)
	}
	conn, err := s.shake(t, conf)
	if err != nil {
		t.Fatal(err)
	}
	all := s.Connections(10)
	if len(all) != 1 || !all[0].Resumed || all[0].Version != tls.VersionTLS13 || all[0].Remote != conn.LocalAddr().String() {
		t.Errorf("%+v", all)
	}
	_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
	_ = conn.NetConn().Close()
	if e := <-o.ended; e.Reason != listen.ResetByClient && e.Reason != listen.ClosedByClient || !e.Resumed {
		t.Errorf("%+v", e)
	}
}

// client2 returns a client that speaks HTTP/2.
func (h *h3Server) client2(conf *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", h.tcp.Addr().String())
		},
	}}
}

func TestConnectionsOfHTTP2And3AreTold(t *testing.T) {
	o := &told{}
	s := startH3(t, listen.Config{
		Observer: o.observer(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }),
	})
	h3, h2 := s.client(t), s.client2(s.tls())
	for _, c := range []*http.Client{h2, h3, h2, h3} {
		res, err := c.Get(s.url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	all := s.Connections(10)
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	for _, c := range all {
		if c.Requests != 2 || c.Version != tls.VersionTLS13 || c.Path == nil || c.Path.RTT <= 0 || c.Path.Sent < 100 || c.Path.Received < 100 {
			t.Errorf("%+v, %+v", c, c.Path)
		}
	}
	h2.CloseIdleConnections()
	if e := <-o.ended; e.Reason != listen.ClosedByClient || e.Protocol != 2 || e.Requests != 2 {
		t.Errorf("%+v", e)
	}
	_ = h3.Transport.(io.Closer).Close()
	if e := <-o.ended; e.Reason != listen.ClosedByClient || e.Protocol != 3 || e.Requests != 2 || !e.TLS {
		t.Errorf("%+v", e)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.shaken) != 2 || o.shaken[0].QUIC == o.shaken[1].QUIC {
		t.Errorf("%+v", o.shaken)
	}
}
