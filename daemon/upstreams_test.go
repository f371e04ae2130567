package daemon_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/daemon"
)

// writeCertificate makes the files that the examples name.
func writeCertificate(t testing.TB, folder string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"models.example.com"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	for name, content := range map[string][]byte{
		"ca.pem": certPEM, "client.pem": certPEM, "client.key": keyPEM, "server.pem": certPEM, "server.key": keyPEM,
		"events.dict": []byte(strings.Repeat("an event of the topics ", 20)), "chat.dict": []byte(strings.Repeat("a chunk of a chat ", 20)),
		"tickets.key": []byte(strings.Repeat("5a", 32) + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// wrongUpstreams are the keys of an upstream and the problems they have; each
// stands in the line after its endpoints.
var wrongUpstreams = []struct{ endpoints, keys, want string }{
	{"http://a", "pol: {}", `:3:5: unknown key "pol"; did you mean "pool"?`},
	{"http://a", "pool: {timeout: 1s}", `:3:12: unknown key "timeout"; known here: attempts, dial_timeout, idle_timeout, kernel_proof, max_age,`},
	{"http://a", "pool: {max_connections: 0}", `:3:29: max_connections is 0 or less: no request could be sent`},
	{"http://a", "pool: {max_connections: 1.5}", `:3:29: want a whole number here`},
	{"http://a", "pool: {max_streams: 0}", `:3:25: max_streams is 0 or less`},
	{"http://a", "pool: {max_dials: -1}", `:3:23: max_dials is 0 or less: no connection could be made`},
	{"http://a", "pool: {dial_timeout: 0s}", `:3:26: dial_timeout is 0 or less`},
	{"http://a", "pool: {idle_timeout: 0s}", `:3:26: idle_timeout is 0 or less: to use each connection for one request write max_requests: 1`},
	{"http://a", "pool: {wait_timeout: 0s}", `:3:26: wait_timeout is 0 or less: to let no request wait write queue: 0`},
	{"http://a", "pool: {attempts: 0}", `:3:22: attempts is 0 or less: to send each request once write 1`},
	{"http://a", "pool: {min_idle: -1}", `:3:22: min_idle is negative; 0 is the least`},
	{"http://a", "pool: {queue: -1}", `:3:19: queue is negative`},
	{"http://a", "pool: {retry_budget: 20}", `:3:26: "20" is not a share; write a number from 0 to 1, like 0.2, or 20%`},
	{"http://a", "pool: {retry_budget: NaN%}", `:3:26: "NaN%" is not a share`},
	{"http://a", "pool: {replay_body: 1M}", `:3:25: "1M" is not a size`},
	{"http://a", "pool: {kernel_proof: maybe}", `:3:26: want true or false here`},
	{"http://a", "pool: {min_idle: 80, max_connections: 64}", `:3:22: min_idle, 80, is over max_connections, 64: it could never be reached`},
	{"http://a", "pool: {min_idle: 2000}", `:3:22: min_idle, 2000, is over max_connections, 1024`},
	{"h2c://b, http://a", "pool: {max_in_flight: 65, max_connections: 64}", `:3:27: max_in_flight, 65, is over max_connections, 64: to http://a each request needs a connection of its own, so requests would wait although they are allowed`},
	{"unix:/run/a", "pool: {max_in_flight: 2000}", `to unix:/run/a each request`},
	{"dns+http://a:1", "pool: {max_in_flight: 2000}", `to dns+http://a:1 each request`},
	{"http://a", "pool: {idle_timeout: 1m, max_age: 30s}", `:3:26: idle_timeout, 1m, is over max_age, 30s: a connection is too old before`},
	{"http://a", "health: {path: healthz}", `:3:20: "healthz" is not a path; write it with a slash before it, like /healthz`},
	{"http://a", "health: {path: 'http://a/healthz'}", `:3:20: "http://a/healthz" is not a path`},
	{"http://a", "health: {path: '/a#b'}", `:3:20: "/a#b" is not a path`},
	{"http://a", "health: {kind: ping}", `:3:20: "ping" is not one of http, tcp, grpc`},
	{"http://a", "health: {kind: grpc}", `:3:20: gRPC needs HTTP/2, which http://a does not speak: write h2c:// or https://`},
	{"https://a, unix:/a", "health: {kind: grpc}", `:3:20: gRPC needs HTTP/2, which unix:/a does not speak`},
	{"http://a", "health: {interval: 1s}", `:3:13: it is not said what is asked; write path: /healthz, kind: tcp or kind: grpc`},
	{"http://a", "health: {path: /, service: x}", `:3:32: a service is asked about by kind: grpc only`},
	{"http://a", "health: {kind: tcp, path: /x}", `:3:31: a path is asked for by kind: http only`},
	{"http://a", "health: {path: /, interval: 1s, timeout: 3s}", `:3:46: timeout, 3s, is over interval, 1s: the next check would be due before this one is over`},
	{"http://a", "health: {path: /, interval: 0s}", `:3:33: interval, 0s, is under 1ms; write a longer one, like 5s`},
	{"http://a", "health: {path: /, unhealthy: 0}", `:3:34: unhealthy is 0 or less`},
	{"http://a", "health: off", `:3:13: want keys and values here`},
	{"http://a", "outliers: on", `:3:15: "on" is not one of off`},
	{"http://a", "outliers: {failure_rate: 1.5}", `:3:30: "1.5" is not a share`},
	{"http://a", "outliers: {max_share: 150%}", `:3:27: "150%" is not a share`},
	{"http://a", "outliers: {max_share: 0}", `:3:27: max_share is 0: to take no endpoint out write outliers: off`},
	{"http://a", "outliers: {min_requests: 0}", `:3:30: min_requests is 0 or less`},
	{"http://a", "outliers: {consecutive: -5}", `:3:29: consecutive is negative`},
	{"http://a", "outliers: {time: 6m}", `:3:22: time, 6m, is over 5m, which no endpoint is taken out for`},
	{"http://a", "outliers: {off: true}", `:3:16: unknown key "off"`},
	{"http://a", "balance: random", `:3:14: balance: "random" is unknown; there are p2c, round_robin,`},
	{"http://a", "balance: hash X", `:3:14: balance: hash needs a source: write "hash header NAME"`},
	{"http://a", "balance: [p2c]", `:3:14: want a single value here`},
	{"http://a", "slow_start: fast", `:3:17: "fast" is not a duration`},
	{"http://a", "tls: {server_name: b}", `:3:10: no endpoint is https://, so there is nobody to be trusted by it`},
	{"https://a", "tls: {server_name: 'https://b'}", `:3:24: "https://b" is not a host name`},
	{"https://a", "tls: {ca: gone.pem}", `:3:15: GONE cannot be read: no such file or directory`},
	{"https://a", "tls: {ca: client.key}", `:3:15: client.key holds no certificate in PEM form`},
	{"https://a", "tls: {cert: client.pem}", `:3:17: the certificate has no key; write key: FILE beside it`},
	{"https://a", "tls: {key: client.key}", `:3:16: the key has no certificate; write cert: FILE beside it`},
	{"https://a", "tls: {cert: client.key, key: client.pem}", `:3:17: cert and key do not make a pair: failed to find certificate PEM data`},
	{"https://a", "tls: {ca: ''}", `:3:15: the name of the file is empty`},
	{"https://a", "tls: {ca: /dev/zero}", `:3:15: /dev/zero cannot be read: it is not a regular file`},
	{"https://a", "tls: {insecure: true}", `:3:11: unknown key "insecure"; known here: ca, cert, key, server_name`},
	{"dns+ftp://a", "balance: p2c", `:2:17: endpoint: `},
	{"http://a, http://a/", "balance: p2c", `:2:27: http://a/ is an endpoint of "u" already`},
	{"dns+http://a:1, dns+http://a:1", "balance: p2c", `:2:33: dns+http://a:1 is an endpoint of "u" already`},
}

func upstreamFile(endpoints, keys string) string {
	return "upstreams: {u: {\n    endpoints: [" + endpoints + "],\n    " + keys + "\n}}\n"
}

func TestEachProblemOfAnUpstreamStandsAloneAtItsPosition(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeCertificate(t, folder)
	file := filepath.Join(folder, "fairlead.yaml")
	for _, c := range wrongUpstreams {
		text := upstreamFile(c.endpoints, c.keys)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := daemon.Load(daemon.Options{Config: file})
		want := strings.ReplaceAll(c.want, "GONE", filepath.Join(folder, "gone.pem"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestWhatIsNoContradictionIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ endpoints, keys string }{
		{"http://10.0.0.1:9000", "pool: {max_connections: 64, wait_timeout: 2s}, health: {path: /healthz, interval: 5s}, balance: p2c"},
		{"http://a", "pool: {max_age: 0s, queue: 0, retry_budget: 0, replay_body: 0, max_requests: 0, response_timeout: 0s}, slow_start: 0s"},
		{"http://a", "pool: {max_age: 30s}"},                                         // under the default idle_timeout
		{"http://a", "health: {path: /, interval: 1s}"},                              // under the default timeout
		{"h2c://a, https://b", "pool: {max_in_flight: 5000, max_connections: 2}"},    // many requests on one connection
		{"dns+http://a:1, http://b, file:/run/endpoints", "tls: {server_name: a}"},   // it may name one with https
		{"srv+https://_http._tcp.a", "tls: {server_name: '::1'}, health: {}, pool:"}, // empty sections
		{"https://a", "health: {kind: grpc}, outliers: {failure_rate: 0, consecutive: 0}, balance: sticky"},
		{"http://a, unix:/a", "health: {kind: http}, outliers: off, balance: hash cookie session"},
	} {
		if _, err := load(t, upstreamFile(c.endpoints, c.keys)); err != nil {
			t.Errorf("%s, %s: %v", c.endpoints, c.keys, err)
		}
	}
}

func TestWhatFollowsFromAProblemIsNotToldBesideIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		// One that shows in a value alone, and one that shows only beside others.
		"heartbeat: soon\nroutes: [{path: /a, upstream: apx}]":                             {":1:12", ":2:31"},
		"upstreams: {u: {endpoints: [http://a], pool: {min_idle: 9, max_connections: x}}}": {":1:77"},
		"upstreams: {u: {endponts: [http://a]}}":                                           {":1:17"},
		"upstreams: {u: {endpoints: [ftp://a, ftp://a], tls: {server_name: b}}}":           {":1:29", ":1:38"},
		"upstreams: 5\nroutes: [{path: /a, upstream: u}]":                                  {":1:12"},
		"upstream: {u: {}}\nroutes: [{path: /a, upstream: u}]":                             {":1:1"},
		"upstreams: {u: {endpoints: [http://a]}}\nroutes: [{pth: /a, upstream: u}]":        {":2:11"},
		"upstreams: {u: {endpoints: [http://a], health: {pth: /, interval: 9s}}}":          {":1:49"},
		"admin: \":1\"\nadmin_token: 5":                                                    {":2:14"},
		"http: 5\nadmin: \"127.0.0.1:8080\"":                                               {":1:7"},
		"limits: {captured_stream: 2GiB, captured_total: x}":                               {":1:49"},
		"upstreams: {u: {endpoints: [https://a], tls: {cert: /gone, key: /gone}}}":         {":1:53", ":1:65"},
		"admin: \":1\"\n[": {":"},
	} {
		_, err := load(t, text)
		if err == nil {
			t.Errorf("%s\nis read", text)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		right := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			right = right && strings.Contains(got[i], "fairlead.yaml"+want[i])
		}
		if !right {
			t.Errorf("%s\n got %v\nwant %v", text, err, want)
		}
	}
}

// goDefaults returns the numbers of upstream's withDefaults, by the field: the
// room tells them to readers of its source only.
func goDefaults(t *testing.T) map[string]float64 {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "../upstream/config.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := func(n ast.Node) string {
		var b bytes.Buffer
		if err := printer.Fprint(&b, set, n); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	found := make(map[string]float64)
	units := strings.NewReplacer("time.Second", strconv.Itoa(int(time.Second)), "time.Minute", strconv.Itoa(int(time.Minute)))
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 || text(call.Fun) != "or" {
			return true
		}
		if v, err := types.Eval(set, nil, token.NoPos, units.Replace(text(call.Args[1]))); err == nil && v.Value != nil && v.Value.Kind() != constant.String {
			found[text(call.Args[0])], _ = constant.Float64Val(v.Value)
		}
		return true
	})
	return found
}

func TestTheDefaultsOfAnUpstreamAreThoseOfTheGoPackage(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, "upstreams: {u: {endpoints: [http://a]}}")
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.Upstreams["u"]
	p, h, o := u.Pool, u.Health, u.Outliers
	ours := map[string]float64{
		"c.Max": float64(p.MaxConnections), "c.MaxStreams": float64(p.MaxStreams), "c.MaxDials": float64(p.MaxDials),
		"c.DialTimeout": float64(p.DialTimeout), "c.IdleTimeout": float64(p.IdleTimeout), "c.MaxAge": float64(p.MaxAge),
		"q.Length": float64(p.Queue), "q.Timeout": float64(p.WaitTimeout),
		"r.Attempts": float64(p.Attempts), "r.Budget": float64(p.RetryBudget), "r.Body": float64(p.ReplayBody),
		"h.Interval": float64(h.Interval), "h.UnhealthyInterval": float64(h.UnhealthyInterval), "h.Timeout": float64(h.Timeout),
		"h.Unhealthy": float64(h.Unhealthy), "h.Healthy": float64(h.Healthy),
		"o.Consecutive": float64(o.Consecutive), "o.FailureRate": float64(o.FailureRate), "o.MinRequests": float64(o.MinRequests),
		"o.Window": float64(o.Window), "o.Time": float64(o.Time), "o.MaxShare": float64(o.MaxShare),
		"b.SlowStart": float64(u.SlowStart),
	}
	theirs := goDefaults(t)
	for field, n := range theirs {
		if ours[field] != n {
			t.Errorf("the default of %s is %v in Go and %v here", field, n, ours[field])
		}
	}
	if len(theirs) != len(ours) {
		t.Errorf("%d defaults in Go, %d here", len(theirs), len(ours))
	}
	if p.MinIdle != 0 || p.MaxInFlight != 0 || p.MaxRequests != 0 || p.ResponseTimeout != 0 || p.KernelProof || o.Off || u.Balance.Policy != "p2c" {
		t.Errorf("what is 0 in Go is something else here: %+v", u)
	}
}

func TestAReloadKeepsTheConnectionsOfAnUpstreamThatDidNotChange(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	t.Cleanup(up.Close)
	text := func(keys, more string) string {
		return fmt.Sprintf("upstreams: {u: {endpoints: [%q], %s}}\nroutes: [{path: /**, upstream: u}]\n%s", up.URL, keys, more)
	}
	file := write(t, text("balance: p2c", ""))
	p := start(t, "", daemon.Options{Config: file})
	connection := func() string {
		t.Helper()
		_, from := answer(t, http.MethodGet, p.http+"/x", "")
		return from
	}
	first := connection()
	for _, unchanged := range []string{text("balance: p2c", "heartbeat: 7s"), text("preserve_host: true", ""), text("pool: {queue: 1024}", "")} {
		reload(t, p, file, unchanged, readAgain)
		if again := connection(); again != first {
			t.Errorf("another connection after\n%s", unchanged)
		}
	}
	reload(t, p, file, text("pool: {queue: 5}", ""), readAgain)
	if again := connection(); again == first {
		t.Error("the connection of the old pool is used after its configuration changed")
	}
}

func TestAnEndpointIsTrustedByItsCertificateAndSeesOurs(t *testing.T) {
	folder := t.TempDir()
	writeCertificate(t, folder)
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "client.pem"), filepath.Join(folder, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(pair.Leaf)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	up.Config.ErrorLog = log.New(io.Discard, "", 0)
	up.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	up.StartTLS()
	t.Cleanup(up.Close)
	file := filepath.Join(folder, "fairlead.yaml")
	text := func(keys string) string {
		return fmt.Sprintf("upstreams: {u: {endpoints: [%q], tls: {%s}}}\nroutes: [{path: /**, upstream: u}]\n", up.URL, keys)
	}
	const trusted = "ca: ca.pem, cert: client.pem, key: client.key, server_name: models.example.com"
	if err := os.WriteFile(file, []byte(text(trusted)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "", daemon.Options{Config: file})
	if status, got := answer(t, http.MethodGet, p.http+"/x", ""); got != "hello test" {
		t.Errorf("%d %q", status, got)
	}
	for _, refused := range []string{"server_name: models.example.com", "ca: ca.pem", strings.Replace(trusted, "models", "other", 1)} {
		reload(t, p, file, text(refused), readAgain)
		if status, got := answer(t, http.MethodGet, p.http+"/x", ""); status != http.StatusBadGateway {
			t.Errorf("with %s: %d %q", refused, status, got)
		}
	}
}
