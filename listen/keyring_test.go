package listen_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/fairlead-edge/fairlead/listen"
)

func loadRing(t *testing.T, file string) *listen.Keyring {
	t.Helper()
	k, err := listen.LoadKeyring(file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func importRing(t *testing.T, exported []byte) *listen.Keyring {
	t.Helper()
	k, err := listen.ImportKeyring(exported)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ringServer is a client with a memory, and servers that it meets.
type ringServer struct {
	certs *listen.Certificates
	conf  *tls.Config
}

func newRingServer(t *testing.T) ringServer {
	t.Helper()
	pair, ca := pairIn(t.TempDir(), "cert"), newAuthority(t, "ca")
	store(t, pair, signKey(t, ca, newKey(t), 200*24*time.Hour, "localhost"))
	return ringServer{load(t, pair), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
}

// resumes reports whether a server with the ring resumes the client's session.
func (r ringServer) resumes(t *testing.T, k *listen.Keyring) bool {
	t.Helper()
	m := startMem(t, listen.Config{TLS: &listen.TLS{Certificates: r.certs, Tickets: k}})
	defer m.stop()
	return m.state(t, r.conf).DidResume
}

func TestASessionIsResumedAcrossARestartByTheExportedRing(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRingServer(t)
		r.conf.MaxVersion = version
		k := listen.NewKeyring()
		if r.resumes(t, k) {
			t.Error("resumed before there was a session")
		}
		if !r.resumes(t, importRing(t, k.Export())) {
			t.Errorf("%s: not resumed", tls.VersionName(version))
		}
		if r.resumes(t, listen.NewKeyring()) {
			t.Errorf("%s: resumed by another ring", tls.VersionName(version))
		}
	}
}

func TestARingTurnsEvery12HoursAndForgetsAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight UTC
		file := filepath.Join(t.TempDir(), "keys")
		write(t, file, strings.Repeat("ab", 32))
		for name, k := range map[string]*listen.Keyring{"random": listen.NewKeyring(), "file": loadRing(t, file)} {
			time.Sleep(time.Until(time.Now().Truncate(24 * time.Hour).Add(36*time.Hour - time.Second)))
			for _, c := range []struct {
				after time.Duration
				want  bool
			}{{12 * time.Hour, true}, {12*time.Hour + 2*time.Second, false}, {24 * time.Hour, false}, {0, true}} {
				r := newRingServer(t)
				r.resumes(t, k) // a second before the ring turns
				time.Sleep(c.after)
				if got := r.resumes(t, k); got != c.want {
					t.Errorf("%s: after %v resumed: %t", name, c.after, got)
				}
				time.Sleep(24*time.Hour - c.after)
			}
		}
	})
}

func TestWhatARingForgetsIsNotExported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := listen.NewKeyring()
		before := string(k.Export())
		time.Sleep(36 * time.Hour)
		if after := string(k.Export()); strings.Count(after, ":") != strings.Count(before, ":") {
			t.Errorf("there are more secrets than one: %d colons", strings.Count(after, ":"))
		}
	})
}

func TestServersWithTheSameKeyFileResumeEachOthersSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		old, rotated := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		write(t, a, old)
		write(t, b, "# both\n\n"+old+"\n")
		first, second := loadRing(t, a), loadRing(t, b)
		r := newRingServer(t)
		r.resumes(t, first)
		if !r.resumes(t, second) {
			t.Error("not by the other server")
		}
		// The new secret comes last first, and seals only then.
		write(t, a, rotated+"\n"+old+"\n")
		time.Sleep(time.Minute)
		if !r.resumes(t, first) {
			t.Error("not with the old secret as the second")
		}
		if r.resumes(t, second) {
			t.Error("by a server that does not know the new secret")
		}
		r.resumes(t, first)
		write(t, b, old+"\n"+rotated+"\n")
		if err := second.Reload(); err != nil {
			t.Error(err)
		}
		if !r.resumes(t, second) {
			t.Error("not by a server that knows it")
		}
	})
}

func TestABrokenKeyFileLeavesTheRingAsItWasAndIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logged
		file := filepath.Join(t.TempDir(), "keys")
		write(t, file, strings.Repeat("ab", 32))
		if err := os.Chmod(file, 0o640); err != nil {
			t.Fatal(err)
		}
		r := newRingServer(t)
		m := startMem(t, listen.Config{TLS: &listen.TLS{Certificates: r.certs, Tickets: loadRing(t, file)}, Logger: out.logger()})
		m.state(t, r.conf)
		write(t, file, "secret-but-broken")
		for range 3 {
			time.Sleep(time.Minute)
			if !m.state(t, r.conf).DidResume {
				t.Error("not resumed")
			}
		}
		if n := out.count("line 1: neither hex nor base64"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		if n := out.count("chmod 600"); n != 1 {
			t.Errorf("%d warnings of the permissions", n)
		}
		if out.count("secret-but") != 0 {
			t.Error("the log holds what the file does")
		}
		m.stop()
	})
}

func TestAnImportThatIsNoExportIsRefused(t *testing.T) {
	for _, text := range []string{"", "{}", "null", `{"fixed":"AAAA"}`, `{"shared":["AAAA"]}`, `{"fixed":5}`} {
		if _, err := listen.ImportKeyring([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// again starts a server at the address of one that has been closed.
func again(t *testing.T, h *h3Server, cfg listen.Config) *h3Server {
	t.Helper()
	tcp, err := net.Listen("tcp", h.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	return startH3On(t, cfg, tcp, udp)
}

func TestASessionAndItsEarlyDataAreResumedOverQUICAcrossARestart(t *testing.T) {
	config := func(k *listen.Keyring) listen.Config {
		return listen.Config{
			TLS:  &listen.TLS{Tickets: k},
			QUIC: listen.QUIC{EarlyData: func(*http.Request) bool { return true }},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.TLS.DidResume)
			}),
		}
	}
	k := listen.NewKeyring()
	h := startH3(t, config(k))
	conf := h.tls()
	conf.InsecureSkipVerify = true // each start has a certificate of its own
	cache := tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	conf.ClientSessionCache = cache
	conf.NextProtos = []string{http3.NextProtoH3}
	for i, ring := range []*listen.Keyring{k, importRing(t, k.Export()), listen.NewKeyring()} {
		if i > 0 {
			_ = h.Close()
			h = again(t, h, config(ring))
		}
		conn, err := h.dial(t)(t.Context(), "", conf, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-cache.put
		state := conn.ConnectionState()
		if want := i == 1; state.TLS.DidResume != want || state.Used0RTT != want {
			t.Errorf("start %d: resumed %t, 0-RTT %t, want both %t", i, state.TLS.DidResume, state.Used0RTT, want)
		}
		_ = conn.CloseWithError(0, "")
	}
}

func TestAClientThatIsNotAcceptedAnyMoreIsNotByATicketEither(t *testing.T) {
	old, anew := newAuthority(t, "old"), newAuthority(t, "new")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRingServer(t)
		r.conf.MaxVersion = version
		k := listen.NewKeyring()
		serve := func(accepted *x509.CertPool) *tcpServer {
			return startTCP(t, listen.Config{
				TLS: &listen.TLS{Certificates: r.certs, Tickets: k, ClientCAs: accepted, RequireClient: accepted != nil},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if len(r.TLS.VerifiedChains) == 0 && accepted != nil {
						t.Error("served without a verified certificate")
					}
				}),
			})
		}
		// A ticket that no client certificate stands behind is good for nothing there.
		serve(nil).state(t, r.conf)
		if _, err := serve(old.pool()).shake(t, r.conf); err == nil {
			t.Error("a client without a certificate is served")
		}
		r.conf.Certificates = []tls.Certificate{sign(t, old, "client")}
		if serve(old.pool()).state(t, r.conf).DidResume {
			t.Error("resumed without the certificate")
		}
		if !serve(old.pool()).state(t, r.conf).DidResume {
			t.Error("not resumed")
		}
		if _, err := serve(anew.pool()).shake(t, r.conf); err == nil {
			t.Error("a client of an authority that is not accepted any more is served")
		}
	}
}

func TestATicketOfTCPDoesNotOpenEarlyDataOverQUIC(t *testing.T) {
	h := startH3(t, listen.Config{
		QUIC:    listen.QUIC{EarlyData: func(*http.Request) bool { return true }},
		Handler: http.NotFoundHandler(),
	})
	cache := tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)}
	conf := h.tls()
	conf.ClientSessionCache = cache
	c, err := tls.Dial("tcp", h.tcp.Addr().String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if err = ask(c); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	<-cache.put
	conf.NextProtos = []string{http3.NextProtoH3}
	var conn *quic.Conn
	if conn, err = h.dial(t)(t.Context(), "", conf, nil); err != nil {
		t.Fatal(err)
	}
	<-conn.HandshakeComplete()
	if state := conn.ConnectionState(); state.Used0RTT || !state.TLS.DidResume {
		t.Errorf("0-RTT %t, resumed %t", state.Used0RTT, state.TLS.DidResume)
	}
	_ = conn.CloseWithError(0, "")
}
