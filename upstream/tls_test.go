package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/upstream"
)

// tlsServer serves over TLS on loopback, with HTTP/2 if that is wanted. It
// answers with what it saw of the connection.
func tlsServer(t *testing.T, http2 bool, change func(*tls.Config)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Saw", r.Proto+" "+r.TLS.ServerName)
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("Client", r.TLS.PeerCertificates[0].Subject.Organization[0])
		}
		_, _ = io.WriteString(w, "ok")
	}))
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = new(tls.Config)
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// trusting returns a configuration that trusts the server's certificate.
func trusting(s *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// tlsPool returns a pool for the endpoint, which at the test's end must have
// nothing under way.
func tlsPool(t *testing.T, cfg upstream.Config) *upstream.Pool {
	t.Helper()
	p, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, e := range p.Snapshot().Endpoints {
			if e.InFlight != 0 || e.Waiting != 0 || e.Dialing != 0 {
				t.Errorf("after all responses were closed: %+v", e)
			}
		}
		p.Close()
	})
	return p
}

func TestTheProtocolIsChosenInTLSAndTheSecondConnectionResumes(t *testing.T) {
	for _, c := range []struct {
		http2   bool
		version uint16
		proto   string
	}{
		{false, tls.VersionTLS13, "HTTP/1.1"},
		{true, tls.VersionTLS13, "HTTP/2.0"},
		{false, tls.VersionTLS12, "HTTP/1.1"},
		{true, tls.VersionTLS12, "HTTP/2.0"},
	} {
		s := tlsServer(t, c.http2, func(cfg *tls.Config) { cfg.MaxVersion = c.version })
		p := tlsPool(t, upstream.Config{Endpoints: []string{s.URL}, TLS: trusting(s), Connections: upstream.Connections{Max: 1}})
		for n, resumed := range []bool{false, true} {
			res, err := begin(t, p, http.MethodGet, "")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if saw := res.Header.Get("Saw"); strings.TrimSpace(saw) != c.proto {
				t.Errorf("the server saw %q, want %s", saw, c.proto)
			}
			conns := p.Connections(2)
			if len(conns) != 1 {
				t.Fatalf("%d connections: %+v", len(conns), conns)
			}
			got := conns[0]
			if got.Resumed != resumed || got.Protocol != c.proto || got.TLS != tls.VersionName(c.version) || got.Shake <= 0 {
				t.Errorf("connection %d: %+v", n, got)
			}
			p.CloseIdleConnections()
		}
		if snap := p.Snapshot(); snap.Dials["ok"] != 2 || snap.TLS.Count != 2 {
			t.Errorf("dials %v, %d handshakes", snap.Dials, snap.TLS.Count)
		}
	}
}

func TestAHandshakeThatFailsSaysWhyAndCountsAsTLS(t *testing.T) {
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = server.Listener.Close()
	server.Listener = plain
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)

	stranger := tlsServer(t, true, nil)
	old := tlsServer(t, false, func(cfg *tls.Config) { cfg.MaxVersion = tls.VersionTLS12 })
	demanding := trusting(old)
	demanding.MinVersion = tls.VersionTLS13
	misnamed := trusting(stranger)
	misnamed.ServerName = "other.test"
	mutual := tlsServer(t, false, func(cfg *tls.Config) {
		cfg.ClientAuth = tls.RequireAnyClientCert
		cfg.MaxVersion = tls.VersionTLS12 // where the handshake itself tells
	})
	for _, c := range []struct {
		name, url string
		tls       *tls.Config
		want      string
	}{
		{"an unknown authority", stranger.URL, nil, "certificate"},
		{"another name", stranger.URL, misnamed, "other.test"},
		{"a plain server", "https://" + plain.Addr().String(), nil, "TLS"},
		{"an old version", old.URL, demanding, "protocol version"},
		{"no client certificate", mutual.URL, trusting(mutual), "tls:"},
	} {
		p := tlsPool(t, upstream.Config{Endpoints: []string{c.url}, TLS: c.tls, Replaces: true})
		text, err := ask(t, p, http.MethodPost, "body")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v", c.name, text, err)
		}
		if snap := p.Snapshot(); snap.Dials["tls"] != 1 {
			t.Errorf("%s: dials %v (%v)", c.name, snap.Dials, err)
		}
	}
}

func TestTheClientsCertificateIsShown(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := tlsServer(t, http2, func(cfg *tls.Config) { cfg.ClientAuth = tls.RequireAnyClientCert })
		cfg := trusting(s)
		cfg.Certificates = s.TLS.Certificates
		p := tlsPool(t, upstream.Config{Endpoints: []string{s.URL}, TLS: cfg})
		res, err := begin(t, p, http.MethodGet, "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got, want := res.Header.Get("Client"), s.Certificate().Subject.Organization[0]; got != want {
			t.Errorf("HTTP/2 %v: the server saw a certificate of %q, not %q", http2, got, want)
		}
	}
}

func TestAResolvedEndpointIsTrustedByItsName(t *testing.T) {
	s := tlsServer(t, true, nil)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var dialed []string
	for _, c := range []struct {
		name string
		well bool
	}{{"example.com", true}, {"example.org", false}} { // httptest's certificate is for example.com
		host := c.name + ":" + port
		endpoint := upstream.Endpoint{Scheme: "https", Host: host, Address: s.Listener.Addr().String()}
		p := tlsPool(t, upstream.Config{
			Resolver: &directory{endpoints: []upstream.Endpoint{endpoint}, valid: 1 << 40}, TLS: trusting(s),
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dialed = append(dialed, address)
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		})
		resolved(t, p)
		res, err := begin(t, p, http.MethodGet, "")
		if (err == nil) != c.well {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			res.Body.Close()
			if saw := res.Header.Get("Saw"); saw != "HTTP/2.0 "+c.name {
				t.Errorf("%s: the server saw %q", c.name, saw)
			}
		} else if p.Snapshot().Dials["tls"] != 1 {
			t.Errorf("%s: dials %v", c.name, p.Snapshot().Dials)
		}
	}
	for _, address := range dialed {
		if address != s.Listener.Addr().String() {
			t.Errorf("dialed %s", address)
		}
	}
}

// resolved waits until the pool has an endpoint.
func resolved(t *testing.T, p *upstream.Pool) {
	t.Helper()
	for {
		events, more := p.Events(0)
		if len(events) > 0 {
			return
		}
		select {
		case <-more:
		case <-t.Context().Done():
			t.Fatal("no endpoint was found")
		}
	}
}
