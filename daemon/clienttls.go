package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ClientTLS says whom an https endpoint is trusted to be, and who we are to it.
type ClientTLS struct {
	CA         PEM    `yaml:"ca"`   // what signs the endpoints' certificates; none: the system's roots
	Cert       PEM    `yaml:"cert"` // our certificate, with its chain
	Key        PEM    `yaml:"key"`
	ServerName string `yaml:"server_name"` // in the endpoints' certificates; "": their host
}

func (c *ClientTLS) isZero() bool {
	return c.CA.File == "" && c.Cert.File == "" && c.Key.File == "" && c.ServerName == ""
}

// config returns nil if nothing was said.
func (c *ClientTLS) config() (*tls.Config, error) {
	if c.isZero() {
		return nil, nil
	}
	cfg := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	var err error
	if cfg.RootCAs, err = c.roots(); err != nil {
		return nil, err
	}
	if c.Cert.File != "" || c.Key.File != "" {
		pair, err := tls.X509KeyPair(c.Cert.content, c.Key.content)
		if err != nil {
			return nil, without("tls: ", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// roots returns nil for the system's.
func (c *ClientTLS) roots() (*x509.CertPool, error) {
	if c.CA.File == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA.content) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CA.File)
	}
	return pool, nil
}

// PEM is a file that was read with the configuration, so that a reload sees
// whether it has changed.
type PEM struct {
	// File is its name as it was written; "": none.
	File string

	folder  string // of names that are relative: the configuration's own
	content []byte
}

// String returns the file's name: its content may be a key.
func (p PEM) String() string { return p.File }

// maxPEM bounds a file of certificates; all that Mozilla trusts are 200 KiB.
const maxPEM = 1 << 20

func (p *PEM) beside(folder string) { p.folder = folder }

func (p *PEM) parse(text string) error {
	if text == "" {
		return errors.New("the name of the file is empty; remove the key or give it one")
	}
	name := text
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.folder, name)
	}
	content, err := readPEM(name)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", name, err)
	}
	p.content = content
	p.File = text
	return nil
}

func readPEM(name string) ([]byte, error) {
	// Opening a pipe would wait for who writes to it.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(content) > maxPEM {
		err = fmt.Errorf("it is over %d bytes, more than any certificates", maxPEM)
	}
	return content, err
}
