package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// DevCert says where a development certificate is, and how to have it trusted.
type DevCert struct {
	// CertFile and KeyFile are the certificate's.
	CertFile, KeyFile string
	// CAFile is the certificate to trust, of the authority that signed it.
	CAFile string
	// New is whether the authority is: nobody trusts it yet.
	New bool
	// SPKI is the base64 SHA-256 hash of the certificate's public key, which
	// stays when the certificate is renewed. Chromium accepts it without trust
	// as --ignore-certificate-errors-spki-list. Trusted or so, Chromium speaks
	// HTTP/3 only with --origin-to-force-quic-on=HOST:PORT: it does not follow
	// an announcement to where an authority of the user's own vouches.
	SPKI string
}

// Development returns a certificate for localhost, *.localhost and the loopback
// addresses, and further hosts if given, which it makes in dir and finds there
// again; a dir of another user, or one that others may write to, is an error. It
// is signed by an authority that exists only there, whose certificate may be
// trusted once and for all (see [DevCert.TrustHint]): it vouches for those names
// and addresses only, so that whoever gets its key cannot pretend to be another
// site.
//
// The certificate is good for 397 days, the most that browsers accept, and made
// anew by the first call in its last 30 days. A host that is not under localhost
// and that the authority does not vouch for yet makes the authority's
// certificate a new one, which is to be trusted again. Several processes may
// call it at the same time.
//
// Most clients take *.localhost for too wide: give a host such as app.localhost
// for it to be accepted.
func Development(dir string, hosts ...string) (*Certificates, DevCert, error) {
	d := development{dir: dir, hosts: hosts}
	dev, err := d.ensure()
	if err != nil {
		return nil, DevCert{}, fmt.Errorf("listen: development certificate: %w", err)
	}
	cs, err := LoadCertificates([]Pair{{dev.CertFile, dev.KeyFile}})
	return cs, dev, err
}

// development is the folder of a development certificate. Keys are made once
// and stay, so that whatever else another process writes there fits them.
type development struct {
	dir   string
	hosts []string
}

func (d development) ensure() (DevCert, error) {
	dev := DevCert{
		CertFile: filepath.Join(d.dir, "localhost.pem"), KeyFile: filepath.Join(d.dir, "localhost.key"), CAFile: filepath.Join(d.dir, "ca.pem"),
	}
	for _, host := range d.hosts {
		if !isHost(host) {
			return dev, fmt.Errorf("%q is no host name and no address", host)
		}
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return dev, err
	}
	if err := checkFolder(d.dir); err != nil {
		return dev, err
	}
	caKey, err := d.key(filepath.Join(d.dir, "ca.key"))
	if err != nil {
		return dev, err
	}
	key, err := d.key(dev.KeyFile)
	if err != nil {
		return dev, err
	}
	ca, isNew, err := d.authority(dev.CAFile, caKey)
	if err != nil {
		return dev, err
	}
	dev.New = isNew
	leaf, err := d.leaf(dev.CertFile, key, ca, caKey)
	if err != nil {
		return dev, err
	}
	hash := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	dev.SPKI = base64.StdEncoding.EncodeToString(hash[:])
	return dev, nil
}

// isHost reports whether a certificate can name it as it is.
func isHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	odd := func(r rune) bool {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	return host != "" && !strings.ContainsFunc(host, odd) && host[0] != '.' && !strings.HasSuffix(host, ".")
}

// key returns the key of a file, and makes one if there is none.
func (d development) key(name string) (*ecdsa.PrivateKey, error) {
	text, err := readSmall(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.makeKey(name); err == nil {
			text, err = readSmall(name) // which may be that of another process
		}
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(*ecdsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: no key that was made for it: remove the file for a new one", name)
}

func (d development) makeKey(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return d.write(name, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, func(temporary string) error {
		err := os.Link(temporary, name) // which does not replace one that is there
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return os.Rename(temporary, name) // a file system without links
		}
		return nil
	})
}

// write has put move a whole file to where it belongs.
func (d development) write(name string, block *pem.Block, put func(temporary string) error) error {
	f, err := os.CreateTemp(d.dir, "."+filepath.Base(name)+".*") // which makes it 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(pem.Encode(f, block), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return put(f.Name())
}

func (d development) writeCertificate(name string, der []byte) error {
	return d.write(name, &pem.Block{Type: "CERTIFICATE", Bytes: der}, func(temporary string) error { return os.Rename(temporary, name) })
}

// certificate returns nil if there is none, or one for another key.
func (development) certificate(name string, key *ecdsa.PrivateKey) *x509.Certificate {
	text, err := readSmall(name)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(bytes.TrimSpace(text))
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(c.PublicKey) {
		return nil
	}
	return c
}
