package tunnel_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// openH3 opens a tunnel to h over HTTP/3.
func openH3(t *testing.T, h http.Handler) (peer, *http.Response) {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of its certificate
	defer lender.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &http3.Server{Handler: h, TLSConfig: &tls.Config{Certificates: lender.TLS.Certificates}} //nolint:gosec // QUIC is TLS 1.3
	served := make(chan error)
	go func() { served <- s.Serve(udp) }()
	t.Cleanup(func() { _ = s.Close(); <-served; _ = udp.Close() })

	trust := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}} //nolint:gosec // see above
	conn, err := quic.DialAddr(t.Context(), udp.LocalAddr().String(), trust, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := (&http3.Transport{}).NewClientConn(conn)
	<-client.ReceivedSettings()
	stream, err := client.OpenRequestStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: "https", Host: udp.LocalAddr().String(), Path: "/"}
	if err := stream.SendRequestHeader(&http.Request{Method: http.MethodConnect, Proto: "websocket", URL: u, Host: u.Host, Header: http.Header{}}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	return h3Peer{stream}, res
}

type h3Peer struct{ *http3.RequestStream }

// Reset ends both halves.
func (p h3Peer) Reset() {
	p.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	p.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
}
