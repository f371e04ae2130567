package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// TLS says how connections are secured: TLS 1.2 (RFC 5246) and 1.3 (RFC 9846)
// over TCP, 1.3 over QUIC.
type TLS struct {
	// Certificates are those to show. Required.
	Certificates *Certificates
	// Tickets are the keys of session tickets, the same over TCP and QUIC. nil:
	// keys of the server's own, which change by themselves.
	Tickets *Keyring
	// ClientCAs are whose certificates of clients are accepted. nil: none is
	// asked for.
	ClientCAs *x509.CertPool
	// RequireClient refuses clients without a certificate. false: they may have
	// none.
	RequireClient bool
	// MinVersion is the lowest version over TCP. Default TLS 1.2.
	MinVersion uint16
}

// tcp returns the configuration for TCP.
func (t *TLS) tcp() (*tls.Config, error) {
	if t.Certificates == nil {
		return nil, errors.New("listen: no certificates: set TLS.Certificates")
	}
	return t.config(), nil
}

// udp returns the configuration for QUIC, which quic-go completes.
func (t *TLS) udp() *tls.Config { return t.config() }

func (t *TLS) config() *tls.Config {
	c := &tls.Config{MinVersion: max(t.MinVersion, tls.VersionTLS12), GetCertificate: t.Certificates.choose, ClientCAs: t.ClientCAs}
	if t.ClientCAs != nil {
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if t.RequireClient {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	if t.Tickets != nil {
		t.Tickets.install(c)
	}
	return c
}
