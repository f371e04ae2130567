package daemon_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

// secured starts a daemon with TLS and the configuration given, whose
// certificates stand beside it.
func secured(t *testing.T, config string) (p *program, file string) {
	t.Helper()
	file = write(t, config)
	writeCertificate(t, filepath.Dir(file))
	free := "127.0.0.1:0"
	return start(t, "", daemon.Options{Config: file, HTTPS: &free}), file
}

const certificates = "tls: {certificates: [{cert: server.pem, key: server.key}]}\n"

func TestThePortOfHTTP3IsAnnouncedAsConfigured(t *testing.T) {
	p, _ := secured(t, certificates+"http3: {port: 443}\n")
	announced(t, p, `h3=":443"; ma=86400`)
}

// overTLS is a client that does not ask who it speaks to.
func overTLS(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols), DisableCompression: true} //nolint:gosec // a test's own server
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetHTTP2(h2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func fetch(t *testing.T, c *http.Client, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// announced waits until HTTP/3 is announced, which it is once it is accepted.
func announced(t *testing.T, p *program, want string) {
	t.Helper()
	c := overTLS(t, true)
	eventually(t, "HTTP/3 is announced as "+want, func() bool {
		res, _ := fetch(t, c, p.https+"/")
		return strings.HasPrefix(res.Header.Get("Alt-Svc"), want)
	})
}

func TestOneAddressServesBothVersionsOverTLSAndAnnouncesTheThird(t *testing.T) {
	p, _ := secured(t, certificates)
	answer(t, http.MethodPost, p.http+"/topics/t", "hello")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(p.https, "https://"))
	announced(t, p, `h3=":`+port+`"`)
	for _, h2 := range []bool{false, true} {
		res, body := fetch(t, overTLS(t, h2), p.https+"/topics/t?after=earliest", "Accept", "application/json")
		if res.StatusCode != http.StatusOK || (res.ProtoMajor == 2) != h2 || !bytes.Contains(body, []byte("hello")) || !strings.Contains(res.Header.Get("Alt-Svc"), `h3=":`+port+`"`) {
			t.Errorf("HTTP/2 %v: %s %s, %v, %s", h2, res.Proto, res.Status, res.Header, body)
		}
	}
	_, text := answer(t, http.MethodGet, p.admin+"/connections", "")
	var page struct {
		Listeners map[string]struct {
			Open   map[string]int
			Opened uint64
		}
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	if l := page.Listeners["https"]; l.Opened < 2 || l.Open["h2"] < 1 {
		t.Errorf("/connections says %+v of https", page.Listeners)
	}
	eventually(t, "the access log says whether sessions were resumed", func() bool { return strings.Contains(p.log.String(), `"resumed":false`) })
}

func TestACertificateForDevelopmentIsMadeAndFoundAgain(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	free, off := "127.0.0.1:0", ""
	var first []byte
	for range 2 {
		p := startAs(t, daemon.Options{HTTP: &off, HTTPS: &free, Admin: &off})
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.https, "https://")) //nolint:gosec // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		shown := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
		_ = conn.Close()
		if first != nil && !bytes.Equal(first, shown) {
			t.Error("the second start has another certificate")
		}
		first = shown
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.log.String(), `"trust":"`) {
			t.Error("the log does not say how to trust it")
		}
	}
}

func TestARouteMayCodeItsResponsesOtherwise(t *testing.T) {
	up := newUpstream(t)
	p, _ := secured(t, certificates+fmt.Sprintf("upstreams: {u: {endpoints: [%q]}}\n", up.URL)+
		"compress: {min_size: 0}\nroutes: [{path: /**, upstream: u}, {path: /small/**, upstream: u, compress: size}, {path: /off/**, upstream: u, compress: off}]\n")
	c := overTLS(t, true)
	for path, want := range map[string]string{"/a": "zstd", "/small/a": "br", "/off/a": ""} {
		if res, _ := fetch(t, c, p.https+path, "Accept-Encoding", "gzip, br, zstd"); res.Header.Get("Content-Encoding") != want {
			t.Errorf("%s is coded %q, want %q", path, res.Header.Get("Content-Encoding"), want)
		}
	}
}

func TestADictionaryIsServedAtAPathOfItsPattern(t *testing.T) {
	up := newUpstream(t)
	p, _ := secured(t, certificates+fmt.Sprintf("upstreams: {u: {endpoints: [%q]}}\n", up.URL)+
		"compress: {min_size: 0, dictionary: events.dict}\nroutes: [{path: /v1/**, upstream: u, compress: {dictionary: events.dict}}]\n")
	c := overTLS(t, true)
	answer(t, http.MethodPost, p.http+"/topics/t", "an event")
	for path, match := range map[string]string{"/topics/t?after=earliest": "/topics*", "/v1/a": "/v1/*"} {
		res, _ := fetch(t, c, p.https+path, "Accept-Encoding", "zstd, dcz", "Accept", "application/json, text/plain")
		link, _, ok := strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
		if !ok {
			t.Fatalf("%s has no link to its dictionary: %v", path, res.Header)
		}
		res, body := fetch(t, c, p.https+link)
		if res.StatusCode != http.StatusOK || res.Header.Get("Use-As-Dictionary") != fmt.Sprintf("match=%q", match) || !bytes.Contains(body, []byte("an event of the topics")) {
			t.Errorf("%s: %s is %s with %v", path, link, res.Status, res.Header)
		}
	}
}

func TestAPublishMayBeCoded(t *testing.T) {
	p := start(t, "", daemon.Options{})
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, "hello, coded")
	_ = w.Close()
	if status, text := answer(t, http.MethodPost, p.http+"/topics/t", b.String(), "Content-Encoding", "gzip", "Content-Type", "text/plain"); status != http.StatusCreated {
		t.Fatalf("%d %s", status, text)
	}
	if _, text := answer(t, http.MethodGet, p.http+"/topics/t?after=earliest", "", "Accept", "application/json"); !strings.Contains(text, "hello, coded") {
		t.Errorf("the topic holds %s", text)
	}
	if status, text := answer(t, http.MethodPost, p.http+"/topics/t", "no gzip", "Content-Encoding", "gzip"); status != http.StatusBadRequest || strings.Contains(text, "its length") {
		t.Errorf("what is not gzip is %d %s", status, text)
	}
	if status, _ := answer(t, http.MethodPost, p.http+"/topics/t", "x", "Content-Encoding", "compress"); status != http.StatusUnsupportedMediaType {
		t.Errorf("an unknown coding is %d", status)
	}
}

func TestBeyondALimitAnEventStreamIsToldToComeBack(t *testing.T) {
	p := start(t, "limits: {connections: 1}\n", daemon.Options{})
	answer(t, http.MethodPost, p.http+"/topics/t", "hello")
	kept := stream(t, p.http+"/topics/t") // on the same connection
	kept.t.Cleanup(func() { _ = kept.res.Body.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for accept, want := range map[string]struct {
		status int
		text   string
	}{"text/event-stream": {http.StatusOK, "event: fairlead.draining\n"}, "application/json": {http.StatusServiceUnavailable, `"code":"overloaded"`}} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.http+"/topics/t", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		res, err := refused.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != want.status || !strings.Contains(string(body), want.text) {
			t.Errorf("%s: %s %s, %v", accept, res.Status, body, err)
		}
	}
}

// wrongEdges are configurations and what is said of them.
var wrongEdges = []struct{ text, want string }{
	{"tls: {certificates: [{cert: server.pem, key: server.key}]}\n", `:1:21: tls is for the https listener, which is off`},
	{"https: \":0\"\ntls: {certificates: [{cert: server.pem}]}\n", `:2:22: a certificate needs both`},
	{"https: \":0\"\ntls: {certificates: [{cert: server.pem, key: none.key}]}\n", `:2:22: certificates:`},
	{"https: \":0\"\ntls: {min_version: \"1.1\"}\n", `:2:20: "1.1" is not one of 1.2, 1.3`},
	{"https: \":0\"\ntls: {require_client: true}\n", `:2:23: whose certificates are accepted is not said; set tls.client_ca`},
	{"https: \":0\"\ntls: {ticket_keys: server.pem}\n", `:2:20: `},
	{"http3: {port: 70000}", `:1:15: 70000 is no port`},
	{"http3: {enabled: false, websocket: true}", `:1:36: WebSockets over HTTP/3 need it`},
	{"upstreams: {u: {endpoints: [http://a:1]}}\nroutes: [{path: /a, upstream: u, early_data: true}]", `:2:46: early data comes over HTTP/3 alone, which is off`},
	{"http3: maybe", `:1:8: "maybe" is not one of true, false`},
	{"compress: fast", `:1:11: "fast" is not one of off, speed, size`},
	{"compress: {dictionary: none.dict}", `:1:24: `},
	{"compress: {memory: 1KiB}", `:1:20: 1KiB is less than one coder holds`},
	{"limits: {connections: -1}", `:1:23: connections is negative; 0 is no bound`},
	{"limits: {header: 1KiB}", `:1:18: a header of 1KiB: want from 4KiB`},
	{"limits: {requests_per_connection: 0}", `requests_per_connection is 0 or less`},
	{"https: \"127.0.0.1:8080\"", `:1:8: https is the address of http`},
}

func TestWhatIsWrongWithTheEdgeIsSaidAtItsPlace(t *testing.T) {
	t.Parallel()
	for _, w := range wrongEdges {
		file := write(t, w.text)
		writeCertificate(t, filepath.Dir(file))
		_, err := daemon.Load(daemon.Options{Config: file})
		if err == nil || !strings.Contains(err.Error(), w.want) {
			t.Errorf("%s\n got %v\nwant %s", w.text, err, w.want)
		}
	}
}

func TestAReloadSaysWhatOfTheEdgeNeedsARestart(t *testing.T) {
	p, file := secured(t, certificates)
	reload(t, p, file, certificates+"timeouts: {idle: 10s}\nlimits: {connections: 5}\n", "a change of it needs a restart")
	for _, key := range []string{`"timeouts"`, `"limits.connections"`} {
		eventually(t, "the log names "+key, func() bool { return strings.Contains(p.log.String(), key) })
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "server.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, p, file, certificates, "the configuration is wrong; the old one stays")
	if res, _ := fetch(t, overTLS(t, true), p.https+"/topics/none"); res.StatusCode != http.StatusNotFound {
		t.Errorf("after a broken key the answer is %s", res.Status)
	}
}
