package listen

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour
	// What CAs promised browsers in 2020, and Apple asks of everybody.
	leafLife  = 397 * day
	leafRenew = 30 * day
	// Longer than any leaf that it signs.
	caLife  = 10 * 365 * day
	caRenew = leafLife + leafRenew
)

// loopback is what an authority vouches for besides names.
var loopback = []*net.IPNet{
	{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
}

// authority returns the certificate of the authority, and whether it is new.
func (d development) authority(name string, key *ecdsa.PrivateKey) (ca *x509.Certificate, isNew bool, err error) {
	domains, addresses := []string{"localhost"}, loopback
	ca = d.certificate(name, key)
	if ca != nil {
		domains, addresses = ca.PermittedDNSDomains, ca.PermittedIPRanges
		if d.vouched(ca) && time.Until(ca.NotAfter) > caRenew {
			return ca, false, nil
		}
	}
	for _, host := range d.hosts {
		if ip, err := netip.ParseAddr(host); err == nil {
			addresses = append(slices.Clip(addresses), &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())})
		} else if !within(host, domains) {
			domains = append(slices.Clip(domains), host)
		}
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, false, err
	}
	id := sha256.Sum256(public)
	template := &x509.Certificate{
		// The subject tells authorities of several machines apart.
		Subject:   pkix.Name{CommonName: "Fairlead development CA " + hex.EncodeToString(id[:4])},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: domains, PermittedIPRanges: addresses,
	}
	ca, err = d.sign(name, template, template, key, key)
	return ca, true, err
}

// vouched reports whether the authority may sign for the hosts.
func (d development) vouched(ca *x509.Certificate) bool {
	return !slices.ContainsFunc(d.hosts, func(host string) bool {
		if ip, err := netip.ParseAddr(host); err == nil {
			return !slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip.AsSlice()) })
		}
		return !within(host, ca.PermittedDNSDomains)
	})
}

// within reports whether a host is one of the domains or below it.
func within(host string, domains []string) bool {
	return slices.ContainsFunc(domains, func(d string) bool {
		return strings.EqualFold(host, d) || len(host) > len(d) && strings.EqualFold(host[len(host)-len(d)-1:], "."+d)
	})
}

// leaf returns the server's certificate.
func (d development) leaf(name string, key *ecdsa.PrivateKey, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if c := d.certificate(name, key); c != nil && d.fits(c, ca) {
		return c, nil
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafLife - time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range d.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return d.sign(name, template, ca, key, caKey)
}

// fits reports whether a certificate is good for all hosts, and for a while.
func (d development) fits(c, ca *x509.Certificate) bool {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := c.Verify(x509.VerifyOptions{Roots: roots})
	return err == nil && time.Until(c.NotAfter) > leafRenew &&
		!slices.ContainsFunc(d.hosts, func(host string) bool { return c.VerifyHostname(host) != nil })
}

// sign writes and returns a certificate for key, signed by that of parent.
func (d development) sign(name string, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	template.SerialNumber.Add(template.SerialNumber, big.NewInt(1)) // which is not to be 0
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, err
	}
	if err = d.writeCertificate(name, der); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
