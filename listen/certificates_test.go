package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
)

// authority signs the certificates of a test.
type authority struct {
	*x509.Certificate

	key crypto.PrivateKey
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate)
	return p
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{c, key}
}

// sign returns a certificate for 60 days.
func sign(t *testing.T, a authority, hosts ...string) tls.Certificate {
	t.Helper()
	return signKey(t, a, newKey(t), 60*24*time.Hour, hosts...)
}

func signKey(t *testing.T, a authority, key crypto.Signer, life time.Duration, hosts ...string) tls.Certificate {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func certPEM(c tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

func keyPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func store(t *testing.T, p listen.Pair, c tls.Certificate) {
	t.Helper()
	write(t, p.Cert, certPEM(c))
	write(t, p.Key, keyPEM(t, c.PrivateKey))
}

func pairIn(dir, name string) listen.Pair {
	return listen.Pair{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
}

func load(t *testing.T, pairs ...listen.Pair) *listen.Certificates {
	t.Helper()
	cs, err := listen.LoadCertificates(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// tcpServer is a server, and the way to it.
type tcpServer struct {
	*listen.Server

	dial func(ctx context.Context) (net.Conn, error)
	stop func()
}

// startMem serves in memory, in a bubble.
func startMem(t *testing.T, cfg listen.Config) *tcpServer {
	t.Helper()
	n := memnet.New()
	s := startTCPOn(t, cfg, n)
	s.dial = func(ctx context.Context) (net.Conn, error) { return n.Dial(ctx, "", "") }
	return s
}

// startTCP serves on loopback.
func startTCP(t *testing.T, cfg listen.Config) *tcpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startTCPOn(t, cfg, l)
	s.dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	return s
}

func startTCPOn(t *testing.T, cfg listen.Config, l net.Listener) *tcpServer {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	}
	s, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &tcpServer{Server: s}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, nil) }()
	m.stop = sync.OnceFunc(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// shake connects as a client and completes a request, so that a ticket of TLS
// 1.3 has come too. The connection is closed by the test.
func (m *tcpServer) shake(t *testing.T, conf *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, conf)
	if err = c.HandshakeContext(t.Context()); err == nil {
		err = ask(c)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// ask makes a request of HTTP/1.1.
func ask(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close())
}

// state returns what a client sees of a connection that it opens and closes.
func (m *tcpServer) state(t *testing.T, conf *tls.Config) tls.ConnectionState {
	t.Helper()
	c, err := m.shake(t, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState()
}

// log is a logger's output that may be read at any time.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestTheCertificateIsTheOneForTheNameThatTheClientCanUse(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	first, wild, exact, other := pairIn(dir, "first"), pairIn(dir, "wild"), pairIn(dir, "exact"), pairIn(dir, "other")
	store(t, first, sign(t, ca, "first.test"))
	store(t, wild, sign(t, ca, "*.Example.test"))
	store(t, exact, sign(t, ca, "api.example.test", "second.test"))
	store(t, other, signKey(t, ca, rsaKey, time.Hour*24*60, "api.example.test", "rsa.test"))
	m := startTCP(t, listen.Config{TLS: &listen.TLS{Certificates: load(t, first, wild, exact, other)}})
	only := func(suite uint16) *tls.Config {
		return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
	}
	for _, c := range []struct {
		name string
		conf *tls.Config
		want tls.Certificate
		file string
	}{
		{name: "api.example.test", file: exact.Cert},
		{name: "API.example.test", file: exact.Cert},
		{name: "www.example.test", file: wild.Cert},
		{name: "a.b.example.test", file: first.Cert},
		{name: "example.test", file: first.Cert},
		{name: "rsa.test", file: other.Cert},
		{name: "unknown.test", file: first.Cert},
		{name: "", file: first.Cert},
		{name: "192.0.2.1", file: first.Cert},
		{name: "api.example.test", conf: only(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), file: other.Cert},
		{name: "unknown.test", conf: only(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), file: other.Cert},
		{name: "api.example.test", conf: only(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), file: exact.Cert},
	} {
		conf := c.conf
		if conf == nil {
			conf = new(tls.Config)
		}
		conf.ServerName = c.name
		conf.InsecureSkipVerify = true
		if got := m.state(t, conf).PeerCertificates[0]; !got.Equal(parsed(t, c.file)) {
			t.Errorf("%q: shown is the certificate for %v, not that of %s", c.name, got.DNSNames, filepath.Base(c.file))
		}
	}
}

func TestChangedFilesAreShownWithoutARestartAndBrokenOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out log
		pair, ca := pairIn(t.TempDir(), "cert"), newAuthority(t, "ca")
		first, second, third := sign(t, ca, "a.test"), sign(t, ca, "a.test"), sign(t, ca, "a.test")
		store(t, pair, first)
		cs := load(t, pair)
		m := startMem(t, listen.Config{
			TLS: &listen.TLS{Certificates: cs}, Logger: out.logger(), Timeouts: listen.Timeouts{Idle: -1, MaxAge: -1},
		})
		conf := &tls.Config{RootCAs: ca.pool(), ServerName: "a.test"}
		shown := func(what string, want tls.Certificate) {
			t.Helper()
			if got := m.state(t, conf).PeerCertificates[0]; !got.Equal(want.Leaf) {
				t.Errorf("%s: another certificate is shown", what)
			}
		}
		before, err := m.shake(t, conf)
		if err != nil {
			t.Fatal(err)
		}
		shown("at first", first)

		time.Sleep(time.Minute)
		write(t, pair.Cert, certPEM(second)) // and the key is still the old one
		for range 3 {
			shown("half written", first)
			time.Sleep(time.Minute)
		}
		if n := out.count("private key does not match"); n != 1 {
			t.Errorf("said %d times that the key is not the certificate's", n)
		}
		write(t, pair.Key, keyPEM(t, second.PrivateKey))
		shown("whole", second)
		if err := ask(before); err != nil {
			t.Errorf("the connection from before: %v", err)
		}
		_ = before.Close() // a server cannot take leave of a pipe that nobody reads

		store(t, pair, third)
		if err := cs.Reload(); err != nil {
			t.Error(err)
		}
		shown("reloaded", third)
		if err := os.Remove(pair.Key); err != nil {
			t.Fatal(err)
		}
		if err := cs.Reload(); err == nil || !strings.Contains(err.Error(), pair.Key) {
			t.Errorf("without a key: %v", err)
		}
		time.Sleep(time.Minute)
		shown("without a key", third)
		m.stop()
	})
}

func TestFilesThatALinkSwapsAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, ca := t.TempDir(), newAuthority(t, "ca")
		for _, version := range []string{"v1", "v2"} { // as Kubernetes mounts secrets
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			store(t, pairIn(filepath.Join(dir, version), "tls"), sign(t, ca, version+".test", "a.test"))
		}
		link := func(to string) {
			_ = os.Symlink(to, filepath.Join(dir, "..tmp"))
			if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		link("v1")
		m := startMem(t, listen.Config{TLS: &listen.TLS{Certificates: load(t, pairIn(filepath.Join(dir, "..data"), "tls"))}})
		conf := &tls.Config{RootCAs: ca.pool(), ServerName: "a.test"}
		for _, version := range []string{"v1", "v2"} {
			link(version)
			time.Sleep(11 * time.Second)
			if got := m.state(t, conf).PeerCertificates[0].DNSNames[0]; got != version+".test" {
				t.Errorf("linked to %s: %s is shown", version, got)
			}
		}
		m.stop()
	})
}

func TestTheEndOfACertificateIsKnownAndWarnedOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out log
		dir, ca := t.TempDir(), newAuthority(t, "ca")
		long, short := pairIn(dir, "long"), pairIn(dir, "short")
		store(t, long, sign(t, ca, "long.test"))
		soon := signKey(t, ca, newKey(t), 20*24*time.Hour, "short.test")
		store(t, short, soon)
		cs := load(t, long, short)
		if got := cs.Expires(); !got.Equal(soon.Leaf.NotAfter) {
			t.Errorf("the first ends at %v, not %v", soon.Leaf.NotAfter, got)
		}
		m := startMem(t, listen.Config{TLS: &listen.TLS{Certificates: cs}, Logger: out.logger()})
		conf := &tls.Config{RootCAs: ca.pool(), ServerName: "long.test"}
		for _, days := range []int{0, 5, 7, 8, 21, 22} {
			time.Sleep(time.Until(soon.Leaf.NotAfter.AddDate(0, 0, days-20)))
			m.state(t, conf)
			expires, expired := out.count("short.pem: expires at"), out.count("short.pem: has expired at")
			if want := min(1, days/7); expires != want {
				t.Errorf("after %d days: %d warnings, want %d", days, expires, want)
			}
			if want := days / 21; expired != want {
				t.Errorf("after %d days: %d warnings that it has, want %d", days, expired, want)
			}
		}
		if out.count("long.pem") != 0 {
			t.Error("a warning of the one that is good")
		}
		m.stop()
	})
}

func TestTheErrorOfAPairNamesTheFileAndWhatToDo(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	good, other := sign(t, ca, "a.test"), sign(t, ca, "a.test")
	for what, c := range map[string]struct{ cert, key, want string }{
		"no certificate": {"hello", keyPEM(t, good.PrivateKey), "cert.pem: no certificate in PEM form"},
		"no key":         {certPEM(good), "hello", "cert.key: no private key in PEM form"},
		"encrypted":      {certPEM(good), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "cert.key: the key is encrypted: store it as openssl pkey"},
		"another's key":  {certPEM(good), keyPEM(t, other.PrivateKey), "cert.pem with the key " + filepath.Join(dir, "cert.key") + ": tls: private key does not match"},
		"too large":      {strings.Repeat("x", 2<<20), "hello", "cert.pem: larger than"},
	} {
		pair := pairIn(dir, "cert")
		write(t, pair.Cert, c.cert)
		write(t, pair.Key, c.key)
		if _, err := listen.LoadCertificates([]listen.Pair{pair}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	if _, err := listen.LoadCertificates([]listen.Pair{pairIn(dir, "none")}); err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("no file: %v", err)
	}
	if _, err := listen.LoadCertificates(nil); err == nil {
		t.Error("no pair is no error")
	}
}
