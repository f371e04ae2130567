package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// ClientTLS says whom an https endpoint is trusted to be, and who we are to it.
type ClientTLS struct {
	CA         Content `yaml:"ca"`   // what signs the endpoints' certificates; none: the system's roots
	Cert       Content `yaml:"cert"` // our certificate, with its chain
	Key        Content `yaml:"key"`
	ServerName string  `yaml:"server_name"` // in the endpoints' certificates; "": their host
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
