package conformance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// edge starts fairlead with TLS as well, on a certificate that authority
// signed. The configuration's tls key is the test's; the other keys are given.
func edge(t *testing.T, config string) *server {
	t.Helper()
	return edgeTLS(t, "", config)
}

// edgeTLS is edge with something to add to the key tls.
func edgeTLS(t *testing.T, extra, config string) *server {
	t.Helper()
	a := authority()
	config = "tls: {certificates: [{cert: " + file(t, "cert.pem", a.leaf) + ", key: " + file(t, "key.pem", a.key) + "}], " + extra + "}\n" + config
	s := serve(t, "--config", file(t, "edge.yaml", config), "--https", "127.0.0.1:0")
	if s.https == "" {
		t.Fatal("fairlead was ready before it printed the address of its https listener")
	}
	return s
}

func port(t *testing.T, base string) int {
	t.Helper()
	n, err := strconv.Atoi(base[strings.LastIndexByte(base, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// pki is a certificate authority and one certificate, for this machine.
type pki struct {
	root, leaf, key string // PEM
	spki            string // base64 of the SHA-256 of the leaf's public key, as Chromium wants it
	pool            *x509.CertPool
}

// tls returns the configuration of a client that trusts the authority.
func (a *pki) tls(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: a.pool, ServerName: "localhost", NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

var authority = sync.OnceValue(func() *pki {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fairlead's tests"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	rootKey, leafKey := newKey(), newKey()
	a := &pki{pool: x509.NewCertPool()}
	a.root = encodePEM("CERTIFICATE", sign(root, root, rootKey, rootKey))
	a.leaf = encodePEM("CERTIFICATE", sign(leaf, root, leafKey, rootKey))
	a.pool.AppendCertsFromPEM([]byte(a.root))
	a.key = encodePEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(leafKey)))
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(leafKey.Public())))
	a.spki = base64.StdEncoding.EncodeToString(sum[:])
	return a
})

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func sign(c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	return must(x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey))
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// must is for what fails on no input of these tests.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
