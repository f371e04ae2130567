package listen_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/listen"
)

func parsed(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vouches reports why a client that trusts the authority would not believe that
// the certificate is for host, at that time.
func vouches(t *testing.T, dev listen.DevCert, host string, at time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(parsed(t, dev.CAFile))
	_, err := parsed(t, dev.CertFile).Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at})
	return err
}

// private returns a folder that nobody else may write to, whatever the umask is.
func private(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "private")
}

func develop(t *testing.T, dir string, hosts ...string) listen.DevCert {
	t.Helper()
	_, dev, err := listen.Development(dir, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestADevelopmentCertificateIsForLocalhostAndRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder", "fairlead")
	dev := develop(t, dir)
	if !dev.New {
		t.Error("the authority is not new")
	}
	for _, host := range []string{"localhost", "app.localhost", "127.0.0.1", "::1"} {
		if err := vouches(t, dev, host, time.Time{}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"example.com", "127.0.0.2", "a.b.localhost"} {
		if vouches(t, dev, host, time.Time{}) == nil {
			t.Errorf("it is for %s too", host)
		}
	}
	leaf := parsed(t, dev.CertFile)
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 397*24*time.Hour {
		t.Errorf("it is good for %v", life)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 4 {
		t.Errorf("files: %v", entries)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	again := develop(t, dir)
	if again.New || again.SPKI != dev.SPKI || !parsed(t, again.CertFile).Equal(leaf) {
		t.Error("it was not remembered")
	}
}

func TestTheAuthorityOfADevelopmentCertificateVouchesForNothingElse(t *testing.T) {
	dev := develop(t, private(t))
	ca := parsed(t, dev.CAFile)
	pair, err := tls.LoadX509KeyPair(dev.CAFile, filepath.Join(filepath.Dir(dev.CAFile), "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, host := range []string{"example.com", "localhost.example.com", "10.0.0.1", "2001:db8::1"} {
		leaf := sign(t, authority{ca, pair.PrivateKey}, host)
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err == nil {
			t.Errorf("who has the authority's key is believed to be %s", host)
		}
	}
}

func TestADevelopmentCertificateIsRenewedInItsLastDaysWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := private(t)
		dev := develop(t, dir)
		leaf := parsed(t, dev.CertFile)
		time.Sleep(time.Until(leaf.NotAfter) - 29*24*time.Hour)
		renewed := develop(t, dir)
		if renewed.New || renewed.SPKI != dev.SPKI {
			t.Error("what clients were told to trust has changed")
		}
		if err := vouches(t, renewed, "localhost", leaf.NotAfter.Add(time.Hour)); err != nil {
			t.Error(err)
		}
		time.Sleep(9 * 365 * 24 * time.Hour) // in which the authority nearly ends
		last := develop(t, dir)
		if !last.New {
			t.Error("the authority ends before the certificate")
		}
		if err := vouches(t, last, "localhost", time.Now().Add(390*24*time.Hour)); err != nil {
			t.Error(err)
		}
	})
}

func TestAFurtherHostIsAddedToADevelopmentCertificate(t *testing.T) {
	dir := private(t)
	develop(t, dir)
	dev := develop(t, dir, "app.localhost")
	if dev.New {
		t.Error("for a host under localhost the authority is good enough")
	}
	dev = develop(t, dir, "Build-7.example.test", "192.0.2.7")
	if !dev.New {
		t.Error("the authority does not vouch for another host")
	}
	for _, host := range []string{"localhost", "build-7.example.test", "192.0.2.7"} {
		if err := vouches(t, dev, host, time.Time{}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if dev = develop(t, dir); dev.New {
		t.Error("without the host the authority is new again")
	}
	for _, host := range []string{"", "*.example.test", "a b", "example.test."} {
		if _, _, err := listen.Development(dir, host); err == nil {
			t.Errorf("%q is taken for a host", host)
		}
	}
}

func TestProcessesThatMakeADevelopmentCertificateAtOnceAgree(t *testing.T) {
	for range 10 {
		dir := private(t)
		devs := make([]listen.DevCert, 4)
		var all sync.WaitGroup
		for i := range devs {
			all.Go(func() { _, devs[i], _ = listen.Development(dir) })
		}
		all.Wait()
		for _, dev := range devs {
			if dev.SPKI == "" || dev.SPKI != devs[0].SPKI {
				t.Fatalf("keys: %q and %q", dev.SPKI, devs[0].SPKI)
			}
			if err := vouches(t, dev, "localhost", time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestABrokenDevelopmentCertificateIsMadeAnewAndABrokenKeyIsAnError(t *testing.T) {
	dir := private(t)
	dev := develop(t, dir)
	write(t, dev.CertFile, "half of it")
	develop(t, dir)
	if err := vouches(t, dev, "localhost", time.Time{}); err != nil {
		t.Error(err)
	}
	write(t, dev.KeyFile, "half of it")
	if _, _, err := listen.Development(dir); err == nil || !strings.Contains(err.Error(), dev.KeyFile+": no key") {
		t.Errorf("got %v", err)
	}
}

func TestTheTrustHintNamesTheAuthority(t *testing.T) {
	dev := listen.DevCert{CAFile: "/srv/it's mine/ca.pem"}
	if hint := dev.TrustHint(); !strings.Contains(hint, "ca.pem") {
		t.Errorf("got %s", hint)
	}
}
