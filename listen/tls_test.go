package listen_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

func TestClientsGetTheBestVersionAndProtocolThatTheyHave(t *testing.T) {
	r := newRingServer(t)
	s := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: r.certs}})
	strict := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: r.certs, MinVersion: tls.VersionTLS13}})
	for _, c := range []struct {
		version   uint16
		protocols []string
		protocol  string
		err       string
	}{
		{tls.VersionTLS13, []string{"h2", "http/1.1"}, "h2", ""},
		{tls.VersionTLS13, []string{"http/1.1", "h2"}, "h2", ""},
		{tls.VersionTLS13, []string{"http/1.1"}, "http/1.1", ""},
		{tls.VersionTLS13, nil, "", ""},
		{tls.VersionTLS12, []string{"h2", "http/1.1"}, "h2", ""},
		{tls.VersionTLS12, []string{"http/1.1"}, "http/1.1", ""},
		{tls.VersionTLS13, []string{"h3"}, "", "no application protocol"},
		{tls.VersionTLS11, nil, "", "protocol version not supported"},
	} {
		conf := &tls.Config{RootCAs: r.conf.RootCAs, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: c.version, NextProtos: c.protocols}
		state, err := handshake(t, s, conf)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s, %v: %v, want %s", tls.VersionName(c.version), c.protocols, err, c.err)
			}
			continue
		}
		if err != nil || state.Version != c.version || state.NegotiatedProtocol != c.protocol {
			t.Errorf("%s, %v: %s, %q, %v", tls.VersionName(c.version), c.protocols, tls.VersionName(state.Version), state.NegotiatedProtocol, err)
		}
		if _, err = handshake(t, strict, conf); (err == nil) != (c.version == tls.VersionTLS13) {
			t.Errorf("%s where 1.3 is the least: %v", tls.VersionName(c.version), err)
		}
	}
}

func handshake(t *testing.T, s *tcpServer, conf *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	raw, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, conf)
	err = c.HandshakeContext(t.Context())
	return c.ConnectionState(), err
}

func TestAClientCertificateIsAskedForAsConfigured(t *testing.T) {
	ca, other := newAuthority(t, "clients"), newAuthority(t, "others")
	good, foreign := sign(t, ca, "client"), sign(t, other, "client")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) > 0 {
			fmt.Fprint(w, r.TLS.VerifiedChains[0][0].Subject.CommonName)
		}
	})
	for _, c := range []struct {
		what    string
		conf    listen.TLS
		shown   *tls.Certificate
		client  string
		refused bool
	}{
		{what: "none is asked for", shown: &good},
		{what: "may, and does not", conf: listen.TLS{ClientCAs: ca.pool()}},
		{what: "may, and does", conf: listen.TLS{ClientCAs: ca.pool()}, shown: &good, client: "client"},
		{what: "may, and shows another's", conf: listen.TLS{ClientCAs: ca.pool()}, shown: &foreign, refused: true},
		{what: "must, and does not", conf: listen.TLS{ClientCAs: ca.pool(), RequireClient: true}, refused: true},
		{what: "must, and does", conf: listen.TLS{ClientCAs: ca.pool(), RequireClient: true}, shown: &good, client: "client"},
	} {
		conf := c.conf
		h := startH3(t, listen.Config{TLS: &conf, Handler: handler})
		client := h.tls()
		if c.shown != nil { // whether or not the server names its authority
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.shown, nil }
		}
		tcp := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
		udp := &http3.Transport{TLSClientConfig: client.Clone(), Dial: h.dial(t)}
		for name, tr := range map[string]http.RoundTripper{"TCP": tcp, "QUIC": udp} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
			res, err := tr.RoundTrip(req)
			if c.refused {
				if err == nil {
					_ = res.Body.Close()
					t.Errorf("%s over %s: served", c.what, name)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s over %s: %v", c.what, name, err)
				continue
			}
			b := make([]byte, 100)
			n, _ := res.Body.Read(b)
			_ = res.Body.Close()
			if string(b[:n]) != c.client {
				t.Errorf("%s over %s: the client is %q", c.what, name, b[:n])
			}
		}
		tcp.CloseIdleConnections()
		_ = udp.Close()
	}
}

func TestCertificatesChangeWhileClientsConnect(t *testing.T) {
	pair, ca := pairIn(t.TempDir(), "cert"), newAuthority(t, "ca")
	store(t, pair, sign(t, ca, "localhost"))
	cs := load(t, pair)
	s := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: cs}})
	conf := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := handshake(t, s, conf); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		next := sign(t, ca, "localhost")
		store(t, pair, next)
		if err := cs.Reload(); err != nil {
			t.Error(err)
		}
		if state, err := handshake(t, s, conf); err != nil || !state.PeerCertificates[0].Equal(next.Leaf) {
			t.Errorf("not the new one: %v", err)
		}
	}
	close(stop)
	clients.Wait()
}

func TestTLSThatCannotWorkIsAnErrorThatSaysWhatToDo(t *testing.T) {
	r := newRingServer(t)
	for want, conf := range map[string]listen.TLS{
		"set TLS.Certificates": {},
		"set TLS.ClientCAs":    {Certificates: r.certs, RequireClient: true},
		"above TLS 1.3":        {Certificates: r.certs, MinVersion: tls.VersionTLS13 + 1},
	} {
		if _, err := listen.New(listen.Config{Handler: http.NotFoundHandler(), TLS: &conf}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestADevelopmentCertificateIsServedToThoseWhoTrustIt(t *testing.T) {
	certs, dev, err := listen.Development(private(t))
	if err != nil {
		t.Fatal(err)
	}
	s := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: certs}})
	ca := authority{Certificate: parsed(t, dev.CAFile)}
	for _, name := range []string{"localhost", "app.localhost", "127.0.0.1"} {
		if _, err := handshake(t, s, &tls.Config{RootCAs: ca.pool(), ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var unknown *tls.CertificateVerificationError
	if _, err := handshake(t, s, &tls.Config{ServerName: "localhost"}); !errors.As(err, &unknown) {
		t.Errorf("without trust: %v", err)
	}
}

func TestAFailedHandshakeIsNoWarning(t *testing.T) {
	certs, _, err := listen.Development(private(t))
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	debug := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: certs}, Logger: debug})
	if _, err := handshake(t, s, &tls.Config{ServerName: "localhost"}); err == nil {
		t.Fatal("a client that does not trust the certificate goes on")
	}
	for log.count("TLS handshake error") == 0 {
		runtime.Gosched()
	}
	if log.count("level=DEBUG") != 1 || log.count("hint=") != 1 || log.count("level=WARN") != 0 {
		t.Errorf("%d of DEBUG, %d of WARN, %d hints", log.count("level=DEBUG"), log.count("level=WARN"), log.count("hint="))
	}
}
