package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
)

// Pair names the files of a certificate, with its chain, and of its key, in
// PEM form.
type Pair struct{ Cert, Key string }

// Certificates are those that a server shows, from files that are read again
// when they change. Its methods may be called concurrently.
type Certificates struct {
	all atomic.Pointer[[]tls.Certificate]
}

// LoadCertificates reads the certificates, of which the first is for names
// that none is for.
func LoadCertificates(pairs []Pair) (*Certificates, error) {
	if len(pairs) == 0 {
		return nil, errors.New("listen: certificates: there is none")
	}
	var all []tls.Certificate
	for _, p := range pairs {
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("listen: certificates: %w", err)
		}
		all = append(all, c)
	}
	cs := new(Certificates)
	cs.all.Store(&all)
	return cs, nil
}

// choose returns the first certificate that the client can use.
func (cs *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *cs.all.Load()
	for i := range all {
		if hello.SupportsCertificate(&all[i]) == nil {
			return &all[i], nil
		}
	}
	return &all[0], nil
}
