package observe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
)

// collectorTLS is what the variables of OTLP say of TLS: the file of who signs the
// collector's certificate, and those of our own certificate and its key, in PEM. They
// are read at the start only. nil: nothing. An error has neither a path nor what is in
// a file in it.
func collectorTLS() (*tls.Config, error) {
	signer, signerFile := otlpVariable("CERTIFICATE")
	own, ownFile := otlpVariable("CLIENT_CERTIFICATE")
	key, keyFile := otlpVariable("CLIENT_KEY")
	if signerFile == "" && ownFile == "" && keyFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if signerFile != "" {
		text, err := readNamed(signer, signerFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("observe: tracing: " + signer + ": the file has no certificate; want PEM")
		}
	}
	if ownFile == "" && keyFile == "" {
		return c, nil
	}
	if ownFile == "" || keyFile == "" {
		return nil, errors.New("observe: tracing: of " + own + " and " + key + " one alone is set; want both or none")
	}
	cert, err := readNamed(own, ownFile)
	if err != nil {
		return nil, err
	}
	secret, err := readNamed(key, keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, secret)
	if err != nil {
		return nil, errors.New("observe: tracing: " + own + " and " + key + ": the files are no certificate and its key; want PEM")
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// readNamed reads the file that a variable names.
func readNamed(variable, file string) ([]byte, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names it
	if err != nil {
		why := "the file cannot be read"
		if errors.Is(err, os.ErrNotExist) {
			why = "there is no such file"
		}
		return nil, errors.New("observe: tracing: " + variable + ": " + why)
	}
	return text, nil
}
