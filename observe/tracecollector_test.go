package observe_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-edge/fairlead/observe"
)

func TestAVariableThatIsWrongIsAnErrorWithoutItsValue(t *testing.T) {
	for pair, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_HEADERS=s3cret":                        "pair 1 is not name=value",
		"OTEL_EXPORTER_OTLP_HEADERS=a=b,Authorization: s3cret":     "pair 2 is not name=value",
		"OTEL_EXPORTER_OTLP_HEADERS==s3cret":                       "pair 1 is not name=value",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS=authorization=s3cret%2": `the value of "authorization" has a %`,
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=s3cret%0A":       `"authorization" with its value is no header`,
		"OTEL_EXPORTER_OTLP_HEADERS=author ization=s3cret":         `"author ization" with its value is no header`,
		"OTEL_RESOURCE_ATTRIBUTES=s3cret":                          "OTEL_RESOURCE_ATTRIBUTES: pair 1",
		"OTEL_RESOURCE_ATTRIBUTES=team=s3cret%zz":                  `OTEL_RESOURCE_ATTRIBUTES: the value of "team"`,
		"OTEL_EXPORTER_OTLP_TIMEOUT=s3cret":                        "mend or unset it: parse duration",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:s3cret@[::1":      "mend or unset it: parse url",
		"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=/none/such/s3cret":  "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: there is no such file",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY=/none/such/s3cret":          "OTEL_EXPORTER_OTLP_CLIENT_KEY one alone is set",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:s3cret@127.0.0.1": "",
		"OTEL_EXPORTER_OTLP_COMPRESSION=s3cret":                    "",
		"OTEL_RESOURCE_ATTRIBUTES=team=s3cret%FF":                  `OTEL_RESOURCE_ATTRIBUTES: "team" with its value is not UTF-8`,
		"OTEL_SERVICE_NAME=s3cret\xff":                             "OTEL_SERVICE_NAME is not UTF-8",
	} {
		t.Run(pair, func(t *testing.T) {
			name, value, _ := strings.Cut(pair, "=")
			t.Setenv(name, value)
			tr, err := observe.NewTracing(observe.TracingConfig{Endpoint: "http://127.0.0.1:1"})
			if err == nil {
				tr.Close(t.Context())
			}
			if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

func TestAVariableThatDoesNotCountHereIsNotTold(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "s3cret")
	var said strings.Builder
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	tr, err := observe.NewTracing(observe.TracingConfig{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	tr.Close(t.Context())
	if said.Len() != 0 {
		t.Errorf("the standard logger says %s", said.String())
	}
}

func TestHeadersOfTheVariablesGoToTheCollectorAndNoFurther(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=other, x-other=a")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20s3cret%2C, X-Team = b ")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	asked := make(chan http.Header, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- r.Header
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	if why := failure(t, s.URL); why != "observe: tracing: export of 1 spans: the collector answered 307 Temporary Redirect" {
		t.Error(why)
	}
	if h := <-asked; h.Get("Authorization") != "Basic s3cret," || h.Get("X-Team") != "b" || h.Get("X-Other") != "" || len(asked) != 0 {
		t.Errorf("%v", h)
	}
}

func TestWhatTheCollectorAnswersIsNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, strings.Repeat("s3cret", 1<<20))
		}, "the collector answered 400 Bad Request"},
		"a strange one": {raw("HTTP/1.1 499 s3cret\r\nContent-Length: 6\r\n\r\ns3cret"), "the collector answered 499"},
		"no HTTP":       {raw("s3cret\r\n\r\n"), "net/http: HTTP/1.x transport connection broken: malformed HTTP response "},
		"a part": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = io.WriteString(w, "\x0a\x0a\x08\x01\x12\x06s3cret")
		}, "the collector answered 200, but not that it took all of them"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				c.answer(w, r)
			}))
			defer s.Close()
			if why := failure(t, s.URL); strings.TrimPrefix(why, "observe: tracing: export of 1 spans: ") != c.want {
				t.Errorf("%s, want %s", why, c.want)
			}
		})
	}
}

func TestTheCertificatesOfTheVariablesAreUsed(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Add(1)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	write := func(kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), "it.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	secret, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := write("CERTIFICATE", s.Certificate().Raw), write("PRIVATE KEY", secret)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", cert)
	t.Setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", cert)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", key)
	if why := failure(t, s.URL); why != "" || asked.Load() != 1 {
		t.Errorf("%d batches came; %s", asked.Load(), why)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", key)
	if _, err := observe.NewTracing(observe.TracingConfig{Endpoint: s.URL}); err == nil || !strings.Contains(err.Error(), "OTLP_CERTIFICATE: the file has no certificate") {
		t.Error(err)
	}
}

// raw answers with bytes.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	}
}

// failure returns what is told of a span that was handed over to there.
func failure(t *testing.T, endpoint string) (why string) {
	t.Helper()
	tr, err := observe.NewTracing(observe.TracingConfig{Endpoint: endpoint, Sample: 1, Failed: func(err error) { why += err.Error() }})
	if err != nil {
		t.Fatal(err)
	}
	tr.Serve(get(), false).Span.End(observe.Response{Status: http.StatusOK})
	tr.Close(t.Context())
	return why
}
