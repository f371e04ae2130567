package listen_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/fairlead-edge/fairlead/listen"
)

// twins serve one handler by a Server and by net/http alone, over loopback, and
// call f with a client of each and a URL.
func twins(b *testing.B, h http.HandlerFunc, protocol string, f func(b *testing.B, c *http.Client, url string)) {
	b.Helper()
	certs, roots := benchCertificates(b)
	for _, name := range []string{"listen", "nethttp"} {
		b.Run(protocol+"/"+name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			url := "http://" + l.Addr().String()
			var conf *listen.TLS
			if protocol == "h2" {
				url = "https://" + l.Addr().String()
				conf = &listen.TLS{Certificates: certs.listen}
			}
			if name == "listen" {
				serveOn(b, l, listen.Config{TLS: conf}, h)
			} else {
				bare := &http.Server{Handler: h} //nolint:gosec // as bare as it can be
				if conf != nil {
					bare.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certs.pair}} //nolint:gosec // as above
					go func() { _ = bare.ServeTLS(l, "", "") }()
				} else {
					go func() { _ = bare.Serve(l) }()
				}
				b.Cleanup(func() { _ = bare.Close() })
			}
			tr := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100,
				DisableCompression: true,
			}
			b.Cleanup(tr.CloseIdleConnections)
			f(b, &http.Client{Transport: tr}, url)
		})
	}
}

type benchCerts struct {
	listen *listen.Certificates
	pair   tls.Certificate
}

func benchCertificates(b *testing.B) (benchCerts, *x509.CertPool) {
	b.Helper()
	certs, roots, files := h3Pair(b)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		b.Fatal(err)
	}
	return benchCerts{certs, pair}, roots
}

func fetch(b *testing.B, c *http.Client, url string) {
	b.Helper()
	resp, err := c.Get(url) //nolint:noctx // a benchmark
	if err != nil {
		b.Error(err)
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		b.Error(err)
	}
}

func BenchmarkSmallGET(b *testing.B) {
	body := []byte(`{"id":42,"name":"a small answer","price":"12.34"}`)
	h := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
	for _, protocol := range []string{"h1", "h2"} {
		twins(b, h, protocol, func(b *testing.B, c *http.Client, url string) {
			b.Helper()
			fetch(b, c, url)
			b.ReportAllocs()
			for b.Loop() {
				fetch(b, c, url)
			}
		})
	}
}
