package listen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/listen"
)

// h3Server is a server on loopback that has a certificate for localhost.
type h3Server struct {
	*listen.Server

	url   string
	addr  *net.UDPAddr
	roots *x509.CertPool
	tcp   net.Listener
	udp   *net.UDPConn
	done  chan error
}

// startH3 serves cfg until the test ends.
func startH3(t *testing.T, cfg listen.Config) *h3Server {
	t.Helper()
	leak.Check(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	return startH3On(t, cfg, tcp, udp)
}

func startH3On(t *testing.T, cfg listen.Config, tcp net.Listener, udp *net.UDPConn) *h3Server {
	t.Helper()
	certs, roots := h3Certificate(t)
	if cfg.TLS == nil {
		cfg.TLS = new(listen.TLS)
	}
	cfg.TLS.Certificates = certs
	s, err := listen.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &h3Server{Server: s, addr: udp.LocalAddr().(*net.UDPAddr), roots: roots, tcp: tcp, udp: udp, done: make(chan error, 1)}
	if h.addr.IP.IsUnspecified() {
		h.addr.IP = net.IPv4(127, 0, 0, 1)
	}
	h.url = fmt.Sprintf("https://localhost:%d", h.addr.Port)
	go func() { h.done <- s.Serve(tcp, udp) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-h.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return h
}

func h3Certificate(t *testing.T) (*listen.Certificates, *x509.CertPool) {
	t.Helper()
	certs, roots, _ := h3Pair(t)
	return certs, roots
}

func h3Pair(t testing.TB) (*listen.Certificates, *x509.CertPool, listen.Pair) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair := listen.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err = os.WriteFile(pair.Cert, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err = os.WriteFile(pair.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	certs, err := listen.LoadCertificates([]listen.Pair{pair})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certs, roots, pair
}

func (h *h3Server) tls() *tls.Config { return &tls.Config{RootCAs: h.roots, ServerName: "localhost"} }

// client returns a client that speaks HTTP/3 only.
func (h *h3Server) client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http3.Transport{TLSClientConfig: h.tls(), Dial: h.dial(t)}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr}
}

// dial returns a function that dials from a socket of its own, which ends with
// the test.
func (h *h3Server) dial(t *testing.T) func(context.Context, string, *tls.Config, *quic.Config) (*quic.Conn, error) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	t.Cleanup(func() {
		_ = tr.Close()
		_ = udp.Close()
	})
	return func(ctx context.Context, _ string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
		return tr.DialEarly(ctx, h.addr, conf, qc)
	}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestHTTP3AnswersAndHTTP2AnnouncesIt(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %q", r.Proto, r.Method, r.ContentLength, b)
	})})
	c := h.client(t)
	res, body := get(t, c, h.url)
	if want := `HTTP/3.0 GET 0 ""`; body != want {
		t.Errorf("GET: %s, want %s", body, want)
	}
	if v := res.Header.Get("Alt-Svc"); v != "" {
		t.Errorf("over HTTP/3 Alt-Svc is %q", v)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url, strings.NewReader("hello"))
	if _, body = do(t, c, req); body != `HTTP/3.0 POST 5 "hello"` {
		t.Errorf("POST: %s", body)
	}

	tr := &http.Transport{TLSClientConfig: h.tls(), ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	c2 := &http.Client{Transport: tr}
	res, body = get(t, c2, h.url)
	if !strings.HasPrefix(body, "HTTP/2.0") {
		t.Errorf("over TCP: %s", body)
	}
	if v, want := res.Header.Get("Alt-Svc"), fmt.Sprintf(`h3=":%d"; ma=86400`, h.addr.Port); v != want {
		t.Errorf("Alt-Svc %q, want %q", v, want)
	}
}

func TestEachEventIsThereBeforeTheNextIsWrittenOverHTTP3(t *testing.T) {
	next := make(chan struct{})
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Count")
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			if i > 0 {
				<-next
			}
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("X-Count", "5")
	})})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
	res, err := h.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for i := range 5 {
		if i > 0 {
			next <- struct{}{} // the handler writes only now
		}
		line, err := r.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want {
			t.Fatalf("read %q, %v; want %q", line, err, want)
		}
		_, _ = r.ReadString('\n')
	}
	if _, err = r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v", err)
	}
	if v := res.Trailer.Get("X-Count"); v != "5" {
		t.Errorf("trailer X-Count is %q", v)
	}
}

func TestEarlyHintsAndResponsesWithoutContentAreRightOverHTTP3(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "ok")
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		case "/hop":
			for _, k := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
				w.Header().Set(k, "x")
			}
		}
	})})
	c := h.client(t)
	var hints string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = fmt.Sprint(code, h.Get("Link"))
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/hints", nil)
	if _, body := do(t, c, req); body != "ok" || hints != "103</a.css>; rel=preload" {
		t.Errorf("got %q after hints %q", body, hints)
	}
	for _, path := range []string{"/204", "/304"} {
		if res, _ := get(t, c, h.url+path); res.Header.Get("Content-Length") != "" {
			t.Errorf("%s: Content-Length %s", path, res.Header.Get("Content-Length"))
		}
	}
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodHead, h.url+"/head", nil)
	if res, _ := do(t, c, req); res.Header.Get("Content-Length") != "" {
		t.Errorf("HEAD: Content-Length %s", res.Header.Get("Content-Length"))
	}
	if res, _ := get(t, c, h.url+"/hop"); len(res.Header) != 2 { // Date, Content-Length
		t.Errorf("header %v", res.Header)
	}
}

func TestALargeHeaderIsRefusedOverHTTP3(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.NotFoundHandler(), Limits: listen.Limits{HeaderBytes: 4096}})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
	req.Header.Set("X-Large", strings.Repeat("x", 5000))
	tr, ok := h.client(t).Transport.(*http3.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestAConnectionBeyondTheLimitIsRefusedAndOneThatEndsMakesRoom(t *testing.T) {
	h := startH3(t, listen.Config{Handler: http.NotFoundHandler(), Limits: listen.Limits{Connections: 1}})
	first := h.client(t)
	get(t, first, h.url)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
	_, err := h.client(t).Do(req)
	if te := (*quic.TransportError)(nil); !errors.As(err, &te) || te.ErrorCode != quic.ConnectionRefused {
		t.Fatalf("the second connection: %v", err)
	}
	_ = first.Transport.(*http3.Transport).Close()
	for {
		res, err := h.client(t).Do(req)
		if err == nil {
			_ = res.Body.Close()
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestShutdownWaitsForARequestOverHTTP3AndCloseEndsIt(t *testing.T) {
	for _, way := range []string{"shutdown", "close", "shutdown with a context that ends"} {
		t.Run(way, func(t *testing.T) {
			started, release := make(chan struct{}), make(chan struct{})
			h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				close(started)
				select {
				case <-release:
					fmt.Fprint(w, "done")
				case <-r.Context().Done():
				}
			})})
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
			res, err := h.client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			<-started
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			switch way {
			case "close":
				go func() { ended <- h.Close() }()
			case "shutdown":
				go func() { ended <- h.Shutdown(ctx) }()
				if err = <-h.done; err != nil { // it accepts no more
					t.Error(err)
				}
				h.done <- nil
				close(release)
			default:
				go func() { ended <- h.Shutdown(ctx) }()
				cancel()
			}
			b, err := io.ReadAll(res.Body)
			if way == "shutdown" && (string(b) != "done" || err != nil) || way != "shutdown" && err == nil {
				t.Errorf("read %q, %v", b, err)
			}
			if err = <-ended; errors.Is(err, context.Canceled) != (way == "shutdown with a context that ends") {
				t.Error(err)
			}
		})
	}
}

func TestAServerThatNeverServedOrServedTwiceStopsCleanly(t *testing.T) {
	leak.Check(t)
	certs, _ := h3Certificate(t)
	for range 20 {
		s, err := listen.New(listen.Config{Handler: http.NotFoundHandler(), TLS: &listen.TLS{Certificates: certs}})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		all.Go(func() {
			if err := s.Serve(tcp, udp); err != nil {
				t.Error(err)
			}
		})
		all.Go(s.StopAccepting)
		all.Go(func() { _ = s.Shutdown(t.Context()) })
		all.Go(func() { _ = s.Close() })
		all.Wait()
		_ = s.Close()
	}
}

func TestConnectionCloseAsksAClientOfHTTP3ToGo(t *testing.T) {
	var conns sync.Map
	h := startH3(t, listen.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Store(r.RemoteAddr, true)
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
	})})
	dials := 0
	c := h.client(t)
	tr := c.Transport.(*http3.Transport)
	tr.Dial = func(ctx context.Context, a string, conf *tls.Config, qc *quic.Config) (*quic.Conn, error) {
		dials++
		conn, err := quic.DialAddrEarly(ctx, h.addr.String(), conf, qc)
		if err == nil && dials == 1 {
			t.Cleanup(func() { <-conn.Context().Done() })
		}
		return conn, err
	}
	get(t, c, h.url)
	get(t, c, h.url+"/last")
	for dials == 1 { // until the GOAWAY is there
		get(t, c, h.url)
	}
}

func TestAPanicIsLoggedWhereTheServerLogs(t *testing.T) {
	var log bytes.Buffer
	h := startH3(t, listen.Config{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("ouch") }),
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
	if _, err := h.client(t).Do(req); err == nil {
		t.Error("a response of a handler that panicked")
	}
	_ = h.Close()
	if !strings.Contains(log.String(), "panic=ouch") {
		t.Errorf("log: %s", log.String())
	}
}
