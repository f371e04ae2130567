package listen_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-edge/fairlead/listen"
)

// A server of HTTP/1.1, 2 and 3 at one address, with a certificate for
// development.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "fairlead")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	certs, dev, err := listen.Development(dir)
	if err != nil {
		panic(err)
	}

	s, err := listen.New(listen.Config{
		TLS: &listen.TLS{Certificates: certs},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "hello over ", r.Proto)
		}),
	})
	if err != nil {
		panic(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(tcp, udp) }()

	// What a client does that trusts the authority; dev.TrustHint() is for the
	// clients of the whole system.
	ca, err := os.ReadFile(dev.CAFile)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	res, err := (&http.Client{Transport: transport}).Get("https://" + tcp.Addr().String())
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	fmt.Println(string(body))
	fmt.Println("HTTP/3 is announced:", strings.HasPrefix(res.Header.Get("Alt-Svc"), "h3="))

	transport.CloseIdleConnections()
	_ = s.Close()
	fmt.Println("stopped:", <-served)
	// Output:
	// hello over HTTP/2.0
	// HTTP/3 is announced: true
	// stopped: <nil>
}

// A certificate that another program renews is shown without a restart: soon
// after it changed, or at once after Reload, such as on SIGHUP.
func ExampleCertificates() {
	certs, err := listen.LoadCertificates([]listen.Pair{
		{Cert: "/etc/fairlead/example.com.pem", Key: "/etc/fairlead/example.com.key"},
		{Cert: "/etc/fairlead/example.org.pem", Key: "/etc/fairlead/example.org.key"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := certs.Reload(); err != nil {
		log.Print(err) // and the certificates are as they were
	}
	// Output:
	// listen: certificates: open /etc/fairlead/example.com.pem: no such file or directory
}

// All servers of a fleet read the same file, and resume each other's sessions,
// over TCP and QUIC.
func ExampleKeyring() {
	dir, err := os.MkdirTemp("", "fairlead")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "tickets.key")
	secret := "# by openssl rand -hex 32\nc0ffee0dc0ffee0dc0ffee0dc0ffee0dc0ffee0dc0ffee0dc0ffee0dc0ffee0d\n"
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		panic(err)
	}

	tickets, err := listen.LoadKeyring(file)
	fmt.Println(tickets != nil, err)
	// Without a file a process can still hand its keys to the one that follows.
	next, err := listen.ImportKeyring(listen.NewKeyring().Export())
	fmt.Println(next != nil, err)
	// Output:
	// true <nil>
	// true <nil>
}
