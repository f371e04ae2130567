package daemon_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/fairlead-edge/fairlead/daemon"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/websocket"
)

// everything returns all spans.
func (s *spans) everything() []*tracepb.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// listening opens an event stream, with the client's trace, and reads the first line.
func listening(path string, over func(*program) (*http.Client, string)) func(*testing.T, *program) func() {
	return func(t *testing.T, p *program) func() {
		t.Helper()
		client, base := over(p)
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Traceparent", clientParent)
		res, err := client.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return func() { cancel(); _ = res.Body.Close(); done(client) }
	}
}

// connected opens a WebSocket with the client's trace.
func connected(path string) func(*testing.T, *program) func() {
	return func(t *testing.T, p *program) func() {
		t.Helper()
		c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.http, "http")+path, websocket.DialConfig{Header: http.Header{"Traceparent": {clientParent}}})
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = c.CloseNow() }
	}
}

// subscribed makes a call of gRPC that reads.
func subscribed(t *testing.T, p *program) func() {
	t.Helper()
	client, base := overH2(p)
	req := connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a"})
	req.Header().Set("Traceparent", clientParent)
	calls, err := fairleadv1connect.NewTopicsClient(client, base, connect.WithGRPC()).Subscribe(t.Context(), req)
	if err != nil || !calls.Receive() {
		t.Fatal(calls, err)
	}
	return func() { _ = calls.Close(); done(client) }
}

func TestAStreamHasASpanOfItsBeginningAndOneOfItsEnd(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if websocket.IsHandshake(r) {
			echoSocket(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: 1\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer up.Close()
	for name, c := range map[string]struct {
		open      func(*testing.T, *program) func()
		span, has string
	}{
		"an event stream on the engine":    {listening("/topics/a", overH1), "GET /topics/**", "http.response.status_code=200"},
		"an event stream over HTTP/2":      {listening("/topics/a", overH2), "GET /topics/**", "network.protocol.version=2"},
		"an event stream over HTTP/3":      {listening("/topics/a", overH3), "GET /topics/**", "network.protocol.version=3"},
		"a WebSocket":                      {connected("/topics/a"), "GET /topics/**", "http.response.status_code=101"},
		"a call":                           {subscribed, "fairlead.v1.Topics/Subscribe", "rpc.method=fairlead.v1.Topics/Subscribe"},
		"an upstream's event stream":       {listening("/api/x", overH1), "GET /api/**", "http.response.status_code=200"},
		"an upstream's WebSocket":          {connected("/api/x"), "GET /api/**", "http.response.status_code=101"},
		"an upstream's stream over HTTP/3": {listening("/api/x", overH3), "GET /api/**", "network.protocol.version=3"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newSpans(t)
			p, _ := secured(t, certificates+"drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /api/**, upstream: u}]\n"+
				to.config("sample: 0, trust: true"))
			answer(t, http.MethodPost, p.http+"/topics/a", "0", "Traceparent", strings.TrimSuffix(clientParent, "1")+"0")
			leave := c.open(t, p)
			leave()
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			began := one(t, to.of(clientTrace), c.span, c.has)
			has(t, began, "fairlead.stream=true")
			ended := one(t, to.everything(), c.span+" end", "")
			has(t, ended, "fairlead.stream=true")
			linksTo(t, ended, began)
			if began.GetEndTimeUnixNano() > ended.GetStartTimeUnixNano() {
				t.Error("the stream's first span goes on to its end")
			}
		})
	}
}

func TestTheTraceOfAClientIsLinkedToUnlessTheClientIsTrusted(t *testing.T) {
	for more, child := range map[string]bool{"": false, "trusted_proxies: [127.0.0.1]\n": true} {
		to := newSpans(t)
		got := make(chan http.Header, 1)
		up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
		p := start(t, "drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /api/**, upstream: u}]\n"+
			more+to.config("sample: 1"), daemon.Options{})
		answer(t, http.MethodGet, p.http+"/api/x", "", "Traceparent", clientParent, "Tracestate", "vendor=1")
		header := <-got
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		up.Close()
		server := one(t, to.everything(), "GET /api/**", "")
		sent := header.Get("Traceparent")
		if !strings.Contains(sent, hex.EncodeToString(server.GetTraceId())) {
			t.Errorf("the upstream saw %s", sent)
		}
		if child {
			if hex.EncodeToString(server.GetParentSpanId()) != clientSpan || header.Get("Tracestate") != "vendor=1" {
				t.Errorf("a trusted proxy's trace does not go on: %v, %v", server, header)
			}
			continue
		}
		if hex.EncodeToString(server.GetTraceId()) == clientTrace || len(server.GetParentSpanId()) > 0 || header.Get("Tracestate") != "" {
			t.Errorf("a client's trace goes on: %v, %v", server, header)
		}
		if links := server.GetLinks(); len(links) != 1 || hex.EncodeToString(links[0].GetSpanId()) != clientSpan {
			t.Errorf("the links are %v", links)
		}
	}
}

func TestWhatIsNotRecordedIsHandedOnAsThat(t *testing.T) {
	to := newSpans(t)
	got := make(chan string, 1)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Traceparent") }))
	defer up.Close()
	p := start(t, "drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /api/**, upstream: u}]\n"+to.config("sample: 0"), daemon.Options{})
	answer(t, http.MethodGet, p.http+"/api/x", "", "Traceparent", clientParent)
	if sent := <-got; !strings.HasSuffix(sent, "-00") || strings.Contains(sent, clientTrace) {
		t.Errorf("the upstream saw %s", sent)
	}
	for _, sent := range []string{"", clientParent} {
		answer(t, http.MethodPost, p.http+"/topics/a", "1", "Traceparent", sent)
		_, page := answer(t, http.MethodGet, p.http+"/topics/a", "", "Accept", "application/json")
		if strings.Contains(page, "traceparent") != (sent != "") || !strings.Contains(page, sent) {
			t.Errorf("with %q, the event is %s", sent, page)
		}
		answer(t, http.MethodDelete, p.http+"/topics/a", "")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for _, span := range to.everything() {
		if span.GetName() != "deliver **" { // of an event whose publisher has it recorded
			t.Errorf("there is a span %q", span.GetName())
		}
	}
}

// inSession returns what asks something in a session of gRPC, waits for the answer and
// ends it.
func inSession(t *testing.T, p *program) func(*fairleadv1.SessionRequest) {
	t.Helper()
	client, base := overH2C(p)
	s := fairleadv1connect.NewTopicsClient(client, base, connect.WithGRPC()).Session(t.Context())
	return func(m *fairleadv1.SessionRequest) {
		t.Helper()
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Receive(); err != nil {
			t.Fatal(err)
		}
		_ = s.CloseRequest()
		_ = s.CloseResponse()
		done(client)
	}
}

func TestAPublishInASessionBelongsToTheTraceOfItsMessage(t *testing.T) {
	for config, child := range map[string]bool{"sample: 1, trust: true": true, "sample: 1": false} {
		to := newSpans(t)
		p := start(t, "drain: {window: 0s}\ntopics: [{match: a}, {match: b/*}]\n"+to.config(config), daemon.Options{})
		c := openSocket(t, p, "/topics", "fairlead.v1.json")
		if err := c.Write(websocket.Text, []byte(`{"id":1,"publish":"a","data":1,"traceparent":"`+clientParent+`"}`)); err != nil {
			t.Fatal(err)
		}
		if reply := string(readSocket(t, c)); !strings.Contains(reply, "ok") {
			t.Fatal(reply)
		}
		_ = c.CloseNow()
		talk := inSession(t, p)
		talk(&fairleadv1.SessionRequest{Id: 1, Action: &fairleadv1.SessionRequest_Publish{Publish: &fairleadv1.PublishRequest{
			Topic: "b/c", Events: []*fairleadv1.Event{{Data: []byte("1"), Traceparent: clientParent}},
		}}})
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"publish a", "publish b/*"} {
			published := one(t, to.everything(), name, "")
			if child && hex.EncodeToString(published.GetParentSpanId()) != clientSpan {
				t.Errorf("the span is %v", published)
			}
			if !child && (len(published.GetLinks()) != 1 || hex.EncodeToString(published.GetLinks()[0].GetSpanId()) != clientSpan || len(published.GetParentSpanId()) > 0) {
				t.Errorf("the span is %v", published)
			}
		}
	}
}

func TestEachAttemptHasASpan(t *testing.T) {
	to := newSpans(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	p := start(t, "drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+dead.URL+"\"]}}\nroutes: [{path: /api/**, upstream: u}]\n"+to.config("sample: 1, trust: true"), daemon.Options{})
	answer(t, http.MethodGet, p.http+"/api/x", "", "Traceparent", clientParent)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	all := to.of(clientTrace)
	server := one(t, all, "GET /api/**", "")
	attempt := one(t, all, "GET", "")
	isChild(t, attempt, server)
	for _, span := range []*tracepb.Span{server, attempt} {
		if span.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%q has the status %v", span.GetName(), span.GetStatus())
		}
	}
	if events := attempt.GetEvents(); len(events) != 1 || events[0].GetName() != "pool.wait" {
		t.Errorf("the attempt's events are %v", events)
	}
}

func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	away := httptest.NewServer(nil)
	away.Close()
	p := start(t, "drain: {window: 0s}\ntracing: {endpoint: \""+away.URL+"\", sample: 1}", daemon.Options{})
	for range 3000 { // more than the queue holds
		if status, text := answer(t, http.MethodGet, p.http+"/topics/a", ""); status != http.StatusNotFound {
			t.Fatal(status, text)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(p.log.String(), "spans were not handed over"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestADurationNamesATraceAsItsExample(t *testing.T) {
	to := newSpans(t)
	p := start(t, to.config("sample: 1, trust: true"), daemon.Options{})
	answer(t, http.MethodGet, p.http+"/topics/a", "", "Traceparent", clientParent)
	eventually(t, "the exemplar is there", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/metrics", "", "Accept", "application/openmetrics-text; version=1.0.0")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "fairlead_http_request_duration_seconds_bucket") && strings.Contains(line, `trace_id="`+clientTrace+`"`) {
				return true
			}
		}
		return false
	})
}

func TestAConnectionHasASpanOfItsHandshakeAndOneOfItsEnd(t *testing.T) {
	for version, over := range map[string]func(*program) (*http.Client, string){
		"1.1": func(p *program) (*http.Client, string) { return overTLS(t, false), p.https }, "2": overH2, "3": overH3,
	} {
		t.Run("HTTP "+version, func(t *testing.T) {
			to := newSpans(t)
			p, _ := secured(t, certificates+"log: {level: debug}\ndrain: {window: 0s}\n"+to.config("sample: 1"))
			client, base := over(p)
			for range 2 {
				_, _ = fetch(t, client, base+"/topics/a")
			}
			done(client)
			eventually(t, "the connection's end is logged", func() bool { return strings.Contains(p.log.String(), `"msg":"connection"`) })
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			all := to.everything()
			shook := one(t, all, "handshake", "")
			has(t, shook, "tls.protocol.version=1.3", "tls.resumed=false", "fairlead.listener=https")
			ended := one(t, all, "connection end", "")
			has(t, ended, "network.protocol.version="+version, "fairlead.connection.requests=2")
			linksTo(t, ended, shook)
			for _, span := range all {
				if span.GetName() == "GET /topics/**" {
					linksTo(t, span, shook)
				}
			}
		})
	}
}

func TestWhatAClientWritesDoesNotSpoilABatch(t *testing.T) {
	to := newSpans(t)
	p := start(t, "drain: {window: 0s}\n"+to.config("sample: 1"), daemon.Options{})
	for _, path := range []string{"/%ff%fe", "/" + strings.Repeat("long", 2000)} {
		answer(t, http.MethodGet, p.http+path, "")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	one(t, to.everything(), "GET", "url.path=/\ufffd")
	for _, span := range to.everything() {
		if n := len(strings.Join(attributes(span), " ")); n > 2000 {
			t.Errorf("a span of %d bytes", n)
		}
	}
}

func TestTheIDOfACapturedStreamIsInNoSpan(t *testing.T) {
	to := newSpans(t)
	up := newUpstream(t)
	p := start(t, "drain: {window: 0s}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /stream, upstream: u}]\n"+to.config("sample: 1"), daemon.Options{})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	at := s.res.Header.Get("Content-Location")
	id := at[strings.LastIndexByte(at, '/')+1:]
	close(up.lines)
	for _, path := range []string{at, strings.Replace(at, "/streams/", "//streams/", 1), "/a/.." + at} {
		answer(t, http.MethodGet, p.http+path, "")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if len(id) < 16 || len(to.everything()) < 4 || strings.Contains(to.raw.String(), id) {
		t.Errorf("the id %q, and spans %s", id, names(to.everything()))
	}
}
