package listen_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

const plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestAConnectionBeyondTheLimitIsToldSoAndEnds(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := memnet.New()
		s := serveOn(t, n, listen.Config{Limits: listen.Limits{Connections: 1}}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "served")
		})
		first := dial1(t, n)
		first.send(plain)
		first.answer("GET")

		one := dial1(t, n)
		one.send(plain)
		resp, _ := one.answer("GET")
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" || !resp.Close {
			t.Errorf("HTTP/1.1: %s %v", resp.Status, resp.Header)
		}
		if err := one.ended(); err != io.EOF {
			t.Error(err)
		}

		two := dial2(t, n)
		two.ask("GET", "/", false)
		var status string
		var goaway bool
		for f := two.frame(); f != nil; f = two.frame() {
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				status = f.PseudoValue("status")
			case *http2.GoAwayFrame:
				goaway = true
			}
		}
		if status != "503" || !goaway {
			t.Errorf("HTTP/2: %s, GOAWAY %v", status, goaway)
		}

		silent := dial1(t, n)
		began := time.Now()
		if err := silent.ended(); err != io.EOF || time.Since(began) != 5*time.Second {
			t.Errorf("one that says nothing: %v after %v", err, time.Since(began))
		}
		if got, want := s.Stats(), (listen.Stats{HTTP1: 1, Opened: 4, Closed: 3, Full: 3}); got != want || s.Listed() != 1 {
			t.Errorf("%+v, want %+v; %d are listed", got, want, s.Listed())
		}

		_ = first.Close()
		synctest.Wait()
		again := dial1(t, n)
		again.send(plain)
		if resp, _ := again.answer("GET"); resp.StatusCode != http.StatusOK {
			t.Errorf("where there is room: %s", resp.Status)
		}
	})
}

func TestBeyondThoseThatAreToldConnectionsAreClosedAtOnce(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := memnet.New()
		s := serveOn(t, n, listen.Config{Limits: listen.Limits{Connections: 1}}, func(http.ResponseWriter, *http.Request) {})
		for range 129 {
			dial1(t, n)
		}
		began := time.Now()
		if err := dial1(t, n).ended(); err != io.EOF || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if got, want := s.Stats(), (listen.Stats{Unknown: 129, Opened: 130, Closed: 1, Full: 129, Dropped: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestClientsAreLimitedByTheirAddress(t *testing.T) {
	simulated(t, func(t *testing.T) {
		var addr string
		l := &from{memnet.New(), func() net.Addr { return &net.TCPAddr{IP: net.ParseIP(addr)} }}
		var refusals []listen.Refusal
		serveOn(t, l, listen.Config{
			Limits: listen.Limits{PerAddress: 3, Rate: 2},
			Refuse: func(w http.ResponseWriter, _ *http.Request, why listen.Refusal) {
				refusals = append(refusals, why)
				w.WriteHeader(why.Status)
			},
		}, func(http.ResponseWriter, *http.Request) {})
		status := func(address string) (int, *talk1) {
			addr = address
			c := dial1(t, l.Network)
			c.send(plain)
			resp, _ := c.answer("GET")
			return resp.StatusCode, c
		}
		for i, c := range []struct {
			addr string
			want int
		}{
			{"192.0.2.1", 200},
			{"192.0.2.1", 200},
			{"::ffff:192.0.2.1", 429}, // too fast
			{"192.0.2.2", 200},
			{"2001:db8::1", 200},
			{"2001:db8::2:1", 200},
			{"2001:db8::3:1", 429}, // the same /64
			{"2001:db8:0:1::1", 200},
			{"127.0.0.1", 200},
			{"127.0.0.1", 200},
			{"127.0.0.1", 200},
		} {
			if got, _ := status(c.addr); got != c.want {
				t.Errorf("%d: %s: %d, want %d", i, c.addr, got, c.want)
			}
		}
		time.Sleep(time.Second)
		third, c := status("192.0.2.1")
		fourth, _ := status("192.0.2.1")
		if third != 200 || fourth != 429 {
			t.Errorf("%d, then %d", third, fourth)
		}
		_ = c.Close()
		synctest.Wait()
		if got, _ := status("192.0.2.1"); got != 200 {
			t.Errorf("after one ended: %d", got)
		}
		if len(refusals) != 3 || refusals[0].RetryAfter != time.Second || refusals[2].Reason != "too many connections from this address" {
			t.Errorf("%+v", refusals)
		}
	})
}

func TestThatALimitIsMetIsLoggedOnceAMinute(t *testing.T) {
	simulated(t, func(t *testing.T) {
		addr := "192.0.2.1"
		l := &from{memnet.New(), func() net.Addr { return &net.TCPAddr{IP: net.ParseIP(addr)} }}
		var log logged
		serveOn(t, l, listen.Config{Limits: listen.Limits{Connections: 4, PerAddress: 2}, Logger: log.logger()}, func(http.ResponseWriter, *http.Request) {})
		const warning = "level=WARN msg=\"a connection is refused"
		dial := func(n int) {
			for range n {
				dial1(t, l.Network)
				synctest.Wait()
			}
		}
		dial(5)
		if log.count(warning) != 1 || log.count(`reason="too many connections from this address" limit=2 client=192.0.2.1 connections=2 addresses=1`) != 1 {
			t.Errorf("one address: %s", log.String())
		}
		addr = "192.0.2.2"
		dial(5)
		if log.count(warning) != 2 || log.count(`reason="too many connections" limit=4 client=192.0.2.2 connections=4 addresses=2`) != 1 {
			t.Errorf("two addresses: %s", log.String())
		}
		time.Sleep(59 * time.Second) // in which the silent ones ended
		dial(3)
		if log.count(warning) != 2 {
			t.Errorf("within a minute: %s", log.String())
		}
		time.Sleep(time.Second)
		dial(1)
		if log.count(warning) != 3 {
			t.Errorf("after a minute: %s", log.String())
		}
	})
}

func TestARequestOfNoServerHasNoConnection(t *testing.T) {
	t.Parallel()
	if info, ok := listen.ConnInfoOf(context.Background()); ok {
		t.Errorf("%+v", info)
	}
}

func TestARefusalIsToldOverTLSToo(t *testing.T) {
	h := startH3(t, listen.Config{
		Limits:  listen.Limits{Connections: 1},
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	})
	for i, want := range []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusServiceUnavailable} {
		tr := &http.Transport{TLSClientConfig: h.tls(), ForceAttemptHTTP2: i != 1}
		defer tr.CloseIdleConnections()
		resp, _ := get(t, &http.Client{Transport: tr}, h.url)
		if resp.StatusCode != want || (resp.ProtoMajor == 2) != (i != 1) {
			t.Errorf("%d: %s %s", i, resp.Proto, resp.Status)
		}
	}
	if s := h.Stats(); s.HTTP2 < 1 || s.Full != 2 || s.Opened != 3 {
		t.Errorf("%+v", s)
	}
}
