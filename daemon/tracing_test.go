package daemon_test

import (
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/quic-go/quic-go/http3"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// spans is a collector: it takes what OTLP brings over HTTP.
type spans struct {
	*httptest.Server

	mu  sync.Mutex
	all []*tracepb.Span
	raw strings.Builder // every text that came
}

func newSpans(t *testing.T) *spans {
	t.Helper()
	s := &spans{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.raw.Write(body)
		for _, of := range req.GetResourceSpans() {
			for _, scope := range of.GetScopeSpans() {
				s.all = append(s.all, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// config turns tracing on.
func (s *spans) config(more string) string {
	return "tracing: {endpoint: \"" + s.URL + "\", " + more + "}\n"
}

// of returns the spans of a trace.
func (s *spans) of(trace string) []*tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*tracepb.Span
	for _, span := range s.all {
		if hex.EncodeToString(span.GetTraceId()) == trace {
			found = append(found, span)
		}
	}
	return found
}

// one returns the only one of the spans with the name that has the attribute; want is
// key=value, or "".
func one(t *testing.T, from []*tracepb.Span, name, want string) *tracepb.Span {
	t.Helper()
	var found []*tracepb.Span
	for _, span := range from {
		if span.GetName() == name && (want == "" || slices.Contains(attributes(span), want)) {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q with %q of %s", len(found), name, want, names(from))
	}
	return found[0]
}

func names(of []*tracepb.Span) string {
	var b strings.Builder
	for _, span := range of {
		b.WriteString("\n" + span.GetName() + " " + strings.Join(attributes(span), " "))
	}
	return b.String()
}

// attributes are those of a span, as key=value.
func attributes(span *tracepb.Span) []string {
	var all []string
	for _, a := range span.GetAttributes() {
		value := strings.TrimSpace(a.GetValue().String())
		_, value, _ = strings.Cut(value, ":")
		all = append(all, a.GetKey()+"="+strings.Trim(value, `"`))
	}
	return all
}

func has(t *testing.T, span *tracepb.Span, want ...string) {
	t.Helper()
	got := attributes(span)
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("span %q lacks %s: %q", span.GetName(), w, got)
		}
	}
}

func isChild(t *testing.T, child, parent *tracepb.Span) {
	t.Helper()
	if string(child.GetParentSpanId()) != string(parent.GetSpanId()) {
		t.Errorf("%q is no child of %q", child.GetName(), parent.GetName())
	}
}

func linksTo(t *testing.T, from, to *tracepb.Span) {
	t.Helper()
	if !slices.ContainsFunc(from.GetLinks(), func(l *tracepb.Span_Link) bool {
		return string(l.GetSpanId()) == string(to.GetSpanId()) && string(l.GetTraceId()) == string(to.GetTraceId())
	}) {
		t.Errorf("%q does not link to %q", from.GetName(), to.GetName())
	}
}

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan   = "00f067aa0ba902b7"
	clientParent = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// ways are those in which a client can speak HTTP.
var ways = map[string]func(*program) (*http.Client, string){"1.1": overH1, "2": overH2, "3": overH3}

func done(c *http.Client) {
	c.CloseIdleConnections()
	if h3, ok := c.Transport.(*http3.Transport); ok {
		_ = h3.Close()
	}
}

func TestATraceGoesFromAPublishToTheDeliveries(t *testing.T) {
	for version, over := range ways {
		t.Run("HTTP "+version, func(t *testing.T) {
			to := newSpans(t)
			p, _ := secured(t, certificates+"drain: {window: 0s}\ntopics: [{match: \"prices/*\"}]\n"+to.config("sample: 1, trust: true"))
			client, base := over(p)
			defer done(client)
			answer(t, http.MethodPost, p.http+"/topics/prices/one", "0", "Traceparent", "00-"+strings.Repeat("ab", 16)+"-"+clientSpan+"-00")

			socket := openSocket(t, p, "/topics/prices/one?after=latest")
			reader, at := over(p)
			if version == "1.1" { // which is not for gRPC
				reader, at = overH2C(p)
			}
			defer done(reader)
			calls, err := fairleadv1connect.NewTopicsClient(reader, at, connect.WithGRPC()).
				Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "prices/one"}))
			if err != nil {
				t.Fatal(err)
			}
			defer calls.Close()
			if !calls.Receive() {
				t.Fatal(calls.Err())
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/topics/prices/one?token=query-secret", strings.NewReader("body-secret"))
			req.Header.Set("Traceparent", clientParent)
			res, err := client.Do(req)
			if err != nil || res.StatusCode != http.StatusCreated {
				t.Fatal(res, err)
			}
			_ = res.Body.Close()
			message := string(readSocket(t, socket))
			if !calls.Receive() {
				t.Fatal(calls.Err())
			}
			given := calls.Msg().GetEvent().GetTraceparent()
			_ = calls.Close()
			_ = socket.CloseNow()
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}

			all := to.of(clientTrace)
			server := one(t, all, "POST /topics/**", "http.response.status_code=201")
			has(t, server, "network.protocol.version="+version, "http.request.method=POST", "http.route=/topics/**", "server.address=127.0.0.1", "url.path=/topics/prices/one")
			if hex.EncodeToString(server.GetParentSpanId()) != clientSpan || server.GetKind() != tracepb.Span_SPAN_KIND_SERVER {
				t.Errorf("the request's span is %v", server)
			}
			produced := one(t, all, "publish prices/*", "")
			isChild(t, produced, server)
			has(t, produced, "messaging.system=fairlead", "messaging.destination.template=prices/*", "messaging.operation.name=publish", "messaging.operation.type=send", "fairlead.events.stored=1")
			if produced.GetKind() != tracepb.Span_SPAN_KIND_PRODUCER {
				t.Errorf("the publish's span is %v", produced)
			}
			for _, transport := range []string{"websocket", "grpc"} {
				delivered := one(t, all, "deliver prices/*", "fairlead.transport="+transport)
				isChild(t, delivered, produced)
				linksTo(t, delivered, produced)
				if delivered.GetKind() != tracepb.Span_SPAN_KIND_CONSUMER {
					t.Errorf("the delivery's span is %v", delivered)
				}
			}
			want := "00-" + clientTrace + "-" + hex.EncodeToString(produced.GetSpanId()) + "-01"
			if given != want || !strings.Contains(message, want) {
				t.Errorf("readers were given %s and %s, want %s", given, message, want)
			}
			if text := to.raw.String(); strings.Contains(text, "secret") {
				t.Error("a query or a body is in the spans")
			}
		})
	}
}

func TestATraceGoesThroughTheProxyToTheUpstream(t *testing.T) {
	for version, over := range ways {
		for _, upstream := range []string{"1.1", "2"} {
			t.Run("HTTP "+version+" to "+upstream, func(t *testing.T) { throughTheProxy(t, version, over, upstream) })
		}
	}
}

func throughTheProxy(t *testing.T, version string, over func(*program) (*http.Client, string), upstream string) {
	to := newSpans(t)
	got := make(chan http.Header, 1)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	up.EnableHTTP2 = upstream == "2"
	up.StartTLS()
	defer up.Close()
	signer := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(signer, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _ := secured(t, certificates+"drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+up.URL+"\"], tls: {ca: \""+signer+"\"}}}\n"+
		"routes: [{path: /api/**, upstream: u}]\n"+to.config("sample: 0, trust: true"))
	client, base := over(p)
	defer done(client)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/things?q=secret", nil)
	req.Header.Set("Traceparent", clientParent)
	req.Header.Set("Tracestate", "vendor=1")
	res, err := client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	header := <-got
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}

	all := to.of(clientTrace)
	server := one(t, all, "GET /api/**", "")
	has(t, server, "network.protocol.version="+version, "http.response.status_code=200")
	attempt := one(t, all, "GET", "")
	isChild(t, attempt, server)
	has(t, attempt, "fairlead.pool=u", "http.response.status_code=200", "server.address=127.0.0.1", "fairlead.connection.reused=false", "network.protocol.version="+upstream)
	if attempt.GetKind() != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("the attempt's span is %v", attempt)
	}
	var events []string
	for _, e := range attempt.GetEvents() {
		events = append(events, e.GetName())
	}
	if want := []string{"dial", "tls.handshake", "pool.wait"}; !slices.Equal(slices.Sorted(slices.Values(events)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the attempt's events are %q", events)
	}
	if want := "00-" + clientTrace + "-" + hex.EncodeToString(attempt.GetSpanId()) + "-01"; header.Get("Traceparent") != want || header.Get("Tracestate") != "vendor=1" {
		t.Errorf("the upstream saw %v, want %s", header, want)
	}
	if text := to.raw.String(); strings.Contains(text, "secret") {
		t.Error("a query is in the spans")
	}
}
