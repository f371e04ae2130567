package daemon_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/websocket"
)

// h3Stream is a tunnel as a client of HTTP/3 has it.
type h3Stream struct{ *http3.RequestStream }

// Close ends both directions.
func (s h3Stream) Close() error {
	s.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	return s.RequestStream.Close()
}

// h3Connection is one connection of a client that trusts anybody.
func h3Connection(t *testing.T, base string) *http3.ClientConn {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}} //nolint:gosec // the certificate is made for the test
	conn, err := quic.DialAddr(t.Context(), strings.TrimPrefix(base, "https://"), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	client := (&http3.Transport{}).NewClientConn(conn)
	<-client.ReceivedSettings()
	return client
}

// openH3 opens a WebSocket over HTTP/3 (RFC 9220).
func openH3(t *testing.T, client *http3.ClientConn, address string, fields ...string) (h3Stream, *http.Response) {
	t.Helper()
	s, err := client.OpenRequestStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Sec-Websocket-Version": {"13"}}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	if err := s.SendRequestHeader(&http.Request{Method: http.MethodConnect, Proto: "websocket", URL: u, Host: u.Host, Header: h}); err != nil {
		t.Fatal(err)
	}
	res, err := s.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	return h3Stream{s}, res
}

// certificate writes the one of httptest, and returns it as the value of tls.
func certificate(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert": {Type: "CERTIFICATE", Bytes: s.Certificate().Raw},
		"key":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("{certificates: [{cert: %s/cert, key: %s/key}]}", dir, dir)
}

func TestWebSocketsOverHTTP3ReachTopicsAndUpstreams(t *testing.T) {
	free := "127.0.0.1:0"
	p := start(t, "drain: {window: 50ms}\nhttp3: {enabled: true, websocket: true}\ntls: "+certificate(t)+"\n"+socketUpstream(t)+
		"routes: [{path: /chat/**, upstream: u}]", daemon.Options{HTTPS: &free})
	client := h3Connection(t, p.https)
	answer(t, http.MethodPost, p.http+"/topics/news", "first")

	s, res := openH3(t, client, p.https+"/topics/news?after=earliest", "Origin", p.https)
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	topic := websocket.New(s, websocket.Client, websocket.Config{})
	if _, message, err := topic.Read(); err != nil || !strings.Contains(string(message), "first") {
		t.Errorf("%s, %v", message, err)
	}
	s, res = openH3(t, client, p.https+"/chat/room")
	if res.StatusCode != http.StatusOK || res.Header.Get("Sec-WebSocket-Accept") != "" {
		t.Fatal(res.Status, res.Header)
	}
	chat := websocket.New(s, websocket.Client, websocket.Config{})
	for _, message := range [][]byte{[]byte("hello"), bytes.Repeat([]byte("x"), 1<<20)} {
		wrote := make(chan error)
		go func() { wrote <- chat.Write(websocket.Binary, message) }()
		if _, got, err := chat.Read(); err != nil || !bytes.Equal(got, message) {
			t.Errorf("%d bytes of %d, %v", len(got), len(message), err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
	reset, _ := openH3(t, client, p.https+"/chat/room")
	reset.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	reset.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	eventually(t, "the WebSocket that was reset is over", func() bool { return connections(t, p).Relays["/chat/**"] == 1 })
	if _, res := openH3(t, client, p.https+"/topics/news", "Origin", "https://evil.example"); res.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign origin: %s", res.Status)
	}

	codes := make(chan int)
	for _, c := range []*websocket.Conn{topic, chat} {
		go func() {
			for {
				if _, _, err := c.Read(); err != nil {
					codes <- websocket.CloseCode(err)
					return
				}
			}
		}()
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	for range 2 {
		if code := <-codes; code != websocket.ServiceRestart {
			t.Errorf("closed with %d", code)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if log := p.log.String(); !strings.Contains(log, `"method":"CONNECT","path":"/chat/room","route":"/chat/**","status":200`) || !strings.Contains(log, `"proto":"HTTP/3.0"`) {
		t.Error("it is not in the log")
	}
}
