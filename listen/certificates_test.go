package listen_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

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
		var out logged
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
		var out logged
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
	const encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
	for what, c := range map[string]struct{ cert, key, want string }{
		"no certificate": {"hello", keyPEM(t, good.PrivateKey), "cert.pem: no certificate in PEM form"},
		"no key":         {certPEM(good), "hello", "cert.key: no private key in PEM form"},
		"encrypted":      {certPEM(good), encrypted, "cert.key: the key is encrypted: store it as openssl pkey"},
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
