package listen_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

// A small GET over HTTP/3, and its twin on quic-go as it is.
func BenchmarkGetOverHTTP3(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	certs, roots, pair := h3Pair(b)
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	udp := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		return c
	}
	run := func(b *testing.B, addr net.Addr) {
		b.Helper()
		tr := &http3.Transport{TLSClientConfig: conf, Dial: func(ctx context.Context, _ string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, addr.String(), conf, qc)
		}}
		defer tr.Close()
		c := &http.Client{Transport: tr}
		b.ReportAllocs()
		for b.Loop() {
			req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://localhost/", nil)
			res, err := c.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	b.Run("listen", func(b *testing.B) {
		s, err := listen.New(listen.Config{Handler: h, TLS: &listen.TLS{Certificates: certs}})
		if err != nil {
			b.Fatal(err)
		}
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		socket := udp()
		go func() { _ = s.Serve(tcp, socket) }()
		defer s.Close()
		run(b, socket.LocalAddr())
	})
	b.Run("quic-go", func(b *testing.B) {
		cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			b.Fatal(err)
		}
		s := &http3.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
		socket := udp()
		go func() { _ = s.Serve(socket) }()
		defer s.Close()
		run(b, socket.LocalAddr())
	})
}
