package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
func (s *tcpServer) shake(t *testing.T, conf *tls.Config) (*tls.Conn, error) {
	t.Helper()
	raw, err := s.dial(t.Context())
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
func (s *tcpServer) state(t *testing.T, conf *tls.Config) tls.ConnectionState {
	t.Helper()
	c, err := s.shake(t, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState()
}

// logged is a logger's output that may be read at any time.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
