package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
)

// TLS says how connections are secured: TLS 1.2 (RFC 5246) and 1.3 (RFC 9846)
// over TCP, 1.3 over QUIC, with the cipher suites and groups that crypto/tls
// prefers.
type TLS struct {
	// Certificates are those to show. Required.
	Certificates *Certificates
	// Tickets are the keys of session tickets, the same over TCP and QUIC. nil:
	// keys of the server's own, which change by themselves.
	Tickets *Keyring
	// ClientCAs are whose certificates of clients are accepted. nil: none is
	// asked for. A session whose client showed one is only resumed while it
	// would be accepted anew.
	ClientCAs *x509.CertPool
	// RequireClient refuses clients without a certificate. false: they may have
	// none.
	RequireClient bool
	// MinVersion is the lowest version over TCP. Default TLS 1.2.
	MinVersion uint16
}

// complete returns what a server uses, which logs to log what becomes wrong.
func (t TLS) complete(log *slog.Logger) (*TLS, error) {
	switch {
	case t.Certificates == nil:
		return nil, errors.New("listen: TLS: no certificates: set TLS.Certificates")
	case t.RequireClient && t.ClientCAs == nil:
		return nil, errors.New("listen: TLS: clients are required to show certificates, and none is accepted: set TLS.ClientCAs")
	case t.MinVersion > tls.VersionTLS13:
		return nil, errors.New("listen: TLS: MinVersion is above TLS 1.3: no client has it")
	}
	t.Certificates.files.report(log)
	if t.Tickets == nil {
		t.Tickets = NewKeyring()
	}
	if t.Tickets.files != nil {
		t.Tickets.files.report(log)
	}
	return &t, nil
}

// tcp returns the configuration for TCP, to which net/http adds the names of its
// protocols.
func (t *TLS) tcp() *tls.Config { return t.config(max(t.MinVersion, tls.VersionTLS12)) }

// udp returns the configuration for QUIC, which quic-go completes.
func (t *TLS) udp() *tls.Config { return t.config(tls.VersionTLS13) }

func (t *TLS) config(lowest uint16) *tls.Config {
	c := &tls.Config{MinVersion: lowest, GetCertificate: t.Certificates.choose, ClientCAs: t.ClientCAs}
	if t.ClientCAs != nil {
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if t.RequireClient {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	t.Tickets.install(c)
	return c
}
