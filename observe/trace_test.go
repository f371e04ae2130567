package observe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/observe"
)

// exported is a collector, whose answer is the spans of each batch.
type exported chan []*tracepb.Span

func (e exported) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	_ = proto.Unmarshal(body, &req)
	var all []*tracepb.Span
	for _, of := range req.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			all = append(all, scope.GetSpans()...)
		}
	}
	e <- all
}

// tracing returns what makes spans, and what ends it and returns them.
func tracing(t testing.TB, cfg observe.TracingConfig) (*observe.Tracing, func() []*tracepb.Span) {
	t.Helper()
	to := make(exported, 16)
	s := httptest.NewServer(to)
	cfg.Endpoint = s.URL + "/v1/traces"
	tr, err := observe.NewTracing(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr, func() (all []*tracepb.Span) {
		tr.Close(context.Background())
		s.Close()
		close(to)
		for batch := range to {
			all = append(all, batch...)
		}
		return all
	}
}

func get(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/x?secret", http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

const fromClient = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestATraceContextThatIsWrongIsNone(t *testing.T) {
	t.Parallel()
	tr, stop := tracing(t, observe.TracingConfig{Trust: true})
	defer stop()
	for _, wrong := range [][]string{
		{"Traceparent", "00-xyz-00f067aa0ba902b7-01"}, {"Traceparent", strings.ToUpper(fromClient)}, {"Traceparent", ""},
		{"Traceparent", fromClient, "Traceparent", fromClient}, {"Traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
	} {
		r := get(append(wrong, "Tracestate", "of=it")...)
		s := tr.Serve(r, true)
		if s.Client != "" || s.Span != nil || strings.Contains(s.Own, "4bf92f") || !slices.Equal(r.Header.Values("Traceparent"), []string{s.Own}) || r.Header.Get("Tracestate") != "" {
			t.Errorf("%q: %+v, %v", wrong, s, r.Header)
		}
	}
}

func TestAClientCannotHaveTheTraceEndHere(t *testing.T) {
	t.Parallel()
	tr, stop := tracing(t, observe.TracingConfig{})
	defer stop()
	r := get("Traceparent", fromClient, "Connection", "keep-alive, TraceParent ,x", "Connection", "tracestate")
	s := tr.Serve(r, false)
	if got := r.Header.Values("Connection"); strings.Join(got, "|") != "keep-alive,x|" || r.Header.Get("Traceparent") != s.Own {
		t.Errorf("%q, %v", got, r.Header)
	}
}

func TestAPublishOfManyEventsIsOneSpanThatLinksToTheirTraces(t *testing.T) {
	t.Parallel()
	tr, stop := tracing(t, observe.TracingConfig{Sample: 1})
	s := tr.Serve(get(), false)
	events := make([]fairlead.Event, 40)
	for i := range events {
		events[i].Traceparent = s.Own
		if i > 0 {
			events[i].Traceparent = fmt.Sprintf("00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01", 1+i/2)
		}
	}
	done := tr.Publish(s, "a/*", events)
	for i := range events {
		if events[i].Traceparent != events[0].Traceparent || events[i].Traceparent == s.Own {
			t.Fatalf("event %d has the context %s", i, events[i].Traceparent)
		}
	}
	done(0, fairlead.NotFound)
	s.Span.End(observe.Response{Status: http.StatusNotFound})
	seen := make(map[string]*tracepb.Span)
	for _, span := range stop() {
		seen[span.GetName()] = span
	}
	if span := seen["publish a/*"]; len(span.GetLinks()) != 16 || span.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("the span is %v", span)
	}
	if span := seen["GET"]; span == nil || span.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("that a client asked for what is not there counts as an error of the server: %v", span)
	}
	if n := tr.Spans(); len(seen) != 2 || *n != (observe.Spans{Ended: 2, Exported: 2}) {
		t.Errorf("%d spans, %+v", len(seen), n)
	}
}

func TestAStrangerHasNothingRecordedByTheContextsOfEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  observe.TracingConfig
		want int // spans of deliveries
	}{{observe.TracingConfig{}, 0}, {observe.TracingConfig{Trust: true}, 2}, {observe.TracingConfig{Sample: 1}, 2}} {
		c.cfg.Deliveries = 10
		tr, stop := tracing(t, c.cfg)
		in := tr.Serve(get("Traceparent", fromClient), false)
		events := []fairlead.Event{{Traceparent: in.Own}, {Traceparent: fromClient}}
		if done := tr.Publish(in, "a", events); done != nil {
			done(2, "")
		}
		for i := range events {
			if (events[i].Traceparent == fromClient) != (c.want == 0) {
				t.Errorf("%+v: event %d has %s", c, i, events[i].Traceparent)
			}
			tr.Delivered(func(name string) string { return name }, "a", "sse", &events[i])
		}
		tr.Delivered(func(name string) string { return name }, "a", "sse", &fairlead.Event{Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"})
		if in.Span != nil {
			in.Span.End(observe.Response{})
		}
		delivered := 0
		for _, span := range stop() {
			if span.GetName() == "deliver a" {
				delivered++
			}
		}
		if delivered != c.want {
			t.Errorf("%+v: %d", c, delivered)
		}
	}
}

func TestTheSpansOfOneRequestAndOfDeliveriesAreBounded(t *testing.T) {
	t.Parallel()
	tr, stop := tracing(t, observe.TracingConfig{Sample: 1, Deliveries: 7})
	s := tr.Serve(get(), false)
	e := []fairlead.Event{{}}
	for range 200 {
		e[0].Traceparent = s.Own
		if done := tr.Publish(s, "a", e); done != nil {
			done(1, "")
		}
	}
	began := time.Now()
	for range 1000 {
		tr.Delivered(func(name string) string { return name }, "a", "sse", &e[0])
	}
	seconds := 1 + int(time.Since(began)/time.Second) + 1
	s.Span.End(observe.Response{})
	count := map[string]int{}
	for _, span := range stop() {
		count[span.GetName()]++
	}
	if count["publish a"] != 128 || count["deliver a"] < 7 || count["deliver a"] > 7*seconds {
		t.Errorf("spans: %v", count)
	}
}

func TestACollectorThatHangsDoesNotKeepCloseBeyondItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or its end would not be seen
		close(asked)
		<-r.Context().Done()
	}))
	defer hangs.Close()
	var failed []error
	tr, err := observe.NewTracing(observe.TracingConfig{Endpoint: hangs.URL, Sample: 1, Failed: func(err error) { failed = append(failed, err) }})
	if err != nil {
		t.Fatal(err)
	}
	tr.Serve(get(), false).Span.End(observe.Response{Status: http.StatusOK})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	tr.Close(ctx)
	if len(failed) != 1 || !errors.Is(failed[0], context.Canceled) {
		t.Errorf("it was told %v", failed)
	}
	if n := tr.Spans(); *n != (observe.Spans{Ended: 1, Failed: 1}) {
		t.Errorf("spans: %+v", n)
	}
}

func TestTracingThatIsOffCanBeClosed(t *testing.T) {
	t.Parallel()
	(*observe.Tracing)(nil).Close(t.Context())
}

// BenchmarkServe is what tracing costs a request that is not recorded, and one that is.
func BenchmarkServe(b *testing.B) {
	for name, share := range map[string]float64{"recorded": 1, "not": 0} {
		b.Run(name, func(b *testing.B) {
			tr, err := observe.NewTracing(observe.TracingConfig{Endpoint: "http://127.0.0.1:1", Sample: share})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				ctx, cancel := context.WithCancel(b.Context())
				cancel()
				tr.Close(ctx)
			}()
			r := get()
			b.ReportAllocs()
			for b.Loop() {
				delete(r.Header, "Traceparent")
				if s := tr.Serve(r, false); s.Span != nil {
					s.Span.End(observe.Response{Route: "/x", Status: http.StatusOK})
				}
			}
		})
	}
}

// A server hands on the trace context of its span instead of the client's.
func ExampleTracing() {
	tracing, err := observe.NewTracing(observe.TracingConfig{Endpoint: "http://127.0.0.1:4318/v1/traces", Trust: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tracing.Close(context.Background())

	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	served := tracing.Serve(r, false)
	fmt.Println(strings.HasPrefix(r.Header.Get("Traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-"))
	fmt.Println("recorded:", served.Span != nil)
	// Output:
	// true
	// recorded: false
}
