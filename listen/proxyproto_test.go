package listen_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// Headers of a balancer: for the client 192.0.2.7:54321, and for itself.
const (
	forClient = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\xd4\x31\x01\xbb"
	forItself = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func tellsAddress() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
}

// through sends a header and a request, and returns the answer, the only one.
func (s *tcpServer) through(t *testing.T, header string, conf *tls.Config) (*http.Response, string, error) {
	t.Helper()
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err = io.WriteString(c, header); err != nil {
		return nil, "", err
	}
	if conf != nil {
		c = tls.Client(c, conf)
	}
	if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, string(b), err
}

func TestTheClientIsWhomABalancerNames(t *testing.T) {
	r := newRingServer(t)
	for _, secure := range []*listen.TLS{nil, {Certificates: r.certs}} {
		conf := r.conf
		if secure == nil {
			conf = nil
		}
		s := startTCP(t, listen.Config{Handler: tellsAddress(), TLS: secure, ProxyProtocol: loopback})
		if _, got, err := s.through(t, forClient, conf); got != "192.0.2.7:54321" {
			t.Errorf("the client is %s, %v", got, err)
		}
		if _, got, err := s.through(t, forItself, conf); !strings.HasPrefix(got, "127.0.0.1:") {
			t.Errorf("the balancer itself is %s, %v", got, err)
		}
	}
}

func TestAPeerThatIsToSendTheHeaderAndDoesNotIsNotServed(t *testing.T) {
	var out logged
	s := startTCP(t, listen.Config{
		Handler:       http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("served") }),
		ProxyProtocol: loopback, Logger: out.logger(),
	})
	for _, header := range []string{"", "PROXY TCP4 192.0.2.7 127.0.0.1 54321 443\r\n", forClient[:20]} {
		if res, _, err := s.through(t, header, nil); err == nil {
			t.Errorf("%q: answered %s", header, res.Status)
		}
	}
	s.stop()
	if n := out.count("PROXY protocol v2"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestAHeaderOfOthersIsNotTakenForIt(t *testing.T) {
	s := startTCP(t, listen.Config{Handler: tellsAddress(), ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	if res, got, err := s.through(t, forClient, nil); err == nil && (res.StatusCode != http.StatusBadRequest || strings.Contains(got, "192.0.2.7")) {
		t.Errorf("answered %s, %s", res.Status, got)
	}
	if _, got, err := s.through(t, "", nil); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("without: %s, %v", got, err)
	}
}

func TestLimitsCountTheClientThatABalancerNames(t *testing.T) {
	s := startTCP(t, listen.Config{Handler: tellsAddress(), ProxyProtocol: loopback, Limits: listen.Limits{PerAddress: 1}})
	first, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.WriteString(first, forClient); err != nil {
		t.Fatal(err)
	}
	if err = ask(first); err != nil {
		t.Fatal(err)
	}
	res, _, err := s.through(t, forClient, nil)
	if err != nil || res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a second one of the client: %v, %v", res, err)
	}
	if _, got, err := s.through(t, strings.Replace(forClient, "\x02\x07", "\x02\x08", 1), nil); got != "192.0.2.8:54321" {
		t.Errorf("another client: %s, %v", got, err)
	}
	_ = first.Close()
}

// balancer is a network whose peers have an address.
type balancer struct{ *memnet.Network }

type balanced struct{ net.Conn }

func (balanced) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000} }

func (b balancer) Accept() (net.Conn, error) {
	c, err := b.Network.Accept()
	if err != nil {
		return nil, err
	}
	return balanced{c}, nil
}

func TestAPeerThatSendsNoHeaderHoldsUpNobodyAndIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		s := startTCPOn(t, listen.Config{
			Handler: tellsAddress(), ProxyProtocol: loopback, Timeouts: listen.Timeouts{Header: 7 * time.Second, Idle: time.Hour},
		}, balancer{n})
		s.dial = func(ctx context.Context) (net.Conn, error) { return n.Dial(ctx, "", "") }
		start := time.Now()
		silent, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slow, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.WriteString(slow, forClient[:20]); err != nil {
			t.Fatal(err)
		}
		if _, got, err := s.through(t, forClient, nil); got != "192.0.2.7:54321" {
			t.Errorf("the next: %s, %v", got, err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it waited %v", d)
		}
		for what, c := range map[string]net.Conn{"silent": silent, "slow": slow} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", what, err)
			}
			if d := time.Since(start); d != 7*time.Second {
				t.Errorf("%s: closed after %v", what, d)
			}
			_ = c.Close()
		}
		// The deadline of the header is not that of what follows.
		c, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.WriteString(c, forClient); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err = ask(c); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		_ = c.Close()
		s.stop()
	})
}
