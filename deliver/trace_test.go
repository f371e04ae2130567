package deliver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
)

func TestATracerIsToldOfEachPublishAndOfWhatIsGivenOfIt(t *testing.T) {
	t.Parallel()
	const parent, other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00"
	var told []string
	config := deliver.Config{AllowPublish: true, Tracer: deliver.Tracer{
		Publish: func(_ context.Context, topic string, events []fairlead.Event) func(int, fairlead.Code) {
			told = append(told, "publish "+topic+" "+events[0].Traceparent)
			if string(events[0].Data) == "quiet" {
				events[0].Traceparent = other
				return nil
			}
			events[0].Traceparent = parent
			return func(stored int, result fairlead.Code) {
				told = append(told, "stored "+strings.Repeat("I", stored)+string(result))
			}
		},
		Delivered: func(topic, transport string, event *fairlead.Event) {
			told = append(told, "given "+topic+" "+transport+" "+string(event.Data)+" "+event.Traceparent)
		},
	}}
	h := deliver.New(config)
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodPost, "/topics/a", strings.NewReader("one")), httptest.NewRequest(http.MethodPost, "/topics/a", strings.NewReader("quiet")),
		httptest.NewRequest(http.MethodGet, "/topics/a", http.NoBody),
	} {
		r.Header.Set("Traceparent", parent)
		r.Header.Set("Accept", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	want := []string{"publish a " + parent, "stored I", "publish a " + parent, "given a poll one " + parent}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
