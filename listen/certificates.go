package listen

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Pair names the files of a certificate, with its chain, and of its key, in
// PEM form.
type Pair struct{ Cert, Key string }

// Certificates are those that a server shows, from files that are read again
// when they change: at a handshake, at most every 10 s, or by
// [Certificates.Reload]. As long as a pair is broken, such as half written, the
// certificates are as they were; the first server that uses them logs that, and
// that one expires within 14 days, once. Methods may be called concurrently.
type Certificates struct {
	pairs []Pair
	files *files
	shown atomic.Pointer[shown]
}

// How long before its end a certificate is warned of. Those that renew theirs by
// themselves do so 30 days or a third of its time before.
const nearEnd = 14 * 24 * time.Hour

// shown is what the files held when they were read.
type shown struct {
	all    []tls.Certificate             // as the pairs
	byName map[string][]*tls.Certificate // in small letters, wildcards as "*.example.com"
}

// LoadCertificates reads the certificates, of which the first is for names
// that none is for. Its error says which file is wrong.
func LoadCertificates(pairs []Pair) (*Certificates, error) {
	if len(pairs) == 0 {
		return nil, errors.New("listen: certificates: there is none: name the files of at least one")
	}
	cs := &Certificates{pairs: pairs}
	names := make([]string, 0, 2*len(pairs))
	for _, p := range pairs {
		names = append(names, p.Cert, p.Key)
	}
	var err error
	cs.files, err = follow(names, cs.read, cs.problems)
	if err != nil {
		return nil, err
	}
	return cs, nil
}

// Reload reads the files now. On an error, which says which file is wrong, the
// certificates stay as they were.
func (cs *Certificates) Reload() error { return cs.files.reload() }

// Expires returns when the first of the certificates ends.
func (cs *Certificates) Expires() time.Time {
	all := cs.shown.Load().all
	first := all[0].Leaf.NotAfter
	for _, c := range all[1:] {
		if end := c.Leaf.NotAfter; end.Before(first) {
			first = end
		}
	}
	return first
}

func (cs *Certificates) read() error {
	s := &shown{all: make([]tls.Certificate, len(cs.pairs)), byName: make(map[string][]*tls.Certificate)}
	for i, p := range cs.pairs {
		c, err := p.load()
		if err != nil {
			// It may just have been changed between the two.
			if c, err = p.load(); err != nil {
				return fmt.Errorf("listen: certificates: %w", err)
			}
		}
		s.all[i] = c
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			s.byName[name] = append(s.byName[name], &s.all[i])
		}
	}
	cs.shown.Store(s)
	return nil
}

// problems names the certificates that end soon.
func (cs *Certificates) problems() []string {
	var wrong []string
	for i, c := range cs.shown.Load().all {
		end := c.Leaf.NotAfter
		switch left := time.Until(end); {
		case left <= 0:
			wrong = append(wrong, fmt.Sprintf("listen: certificates: %s: has expired at %s: put a new one there", cs.pairs[i].Cert, end))
		case left < nearEnd:
			wrong = append(wrong, fmt.Sprintf("listen: certificates: %s: expires at %s: put a new one there", cs.pairs[i].Cert, end))
		}
	}
	return wrong
}

// choose returns the certificate for the name that the client asks for, of
// several the first that it can use; for a name that none is for, the first that
// it can use.
func (cs *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cs.files.look()
	s := cs.shown.Load()
	name := strings.ToLower(hello.ServerName)
	exact := s.byName[name]
	for _, c := range exact {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		for _, c := range s.byName["*."+parent] {
			if hello.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	unnamed := *hello
	unnamed.ServerName = ""
	for i := range s.all {
		if unnamed.SupportsCertificate(&s.all[i]) == nil {
			return &s.all[i], nil
		}
	}
	return &s.all[0], nil
}

// load reads a pair; crypto/tls parses the leaf once.
func (p Pair) load() (tls.Certificate, error) {
	cert, err := readSmall(p.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readSmall(p.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	c, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return c, nil
	case !holds(cert, "CERTIFICATE"):
		return c, fmt.Errorf("%s: no certificate in PEM form is in it", p.Cert)
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return c, fmt.Errorf("%s: the key is encrypted: store it as openssl pkey -in FILE -out FILE writes it", p.Key)
	case !holds(key, "PRIVATE KEY"):
		return c, fmt.Errorf("%s: no private key in PEM form is in it", p.Key)
	}
	return c, fmt.Errorf("%s with the key %s: %w", p.Cert, p.Key, err)
}

// holds reports whether there is a PEM block whose type ends so.
func holds(text []byte, kind string) bool {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
		text = rest
	}
}
