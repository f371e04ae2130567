package client_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

// enveloped answers with envelopes as the transport carries them, and the end.
func enveloped(transport client.Transport, envelopes ...string) http.HandlerFunc {
	switch transport {
	case client.WebSocket:
		return sending(append(envelopes, `{"end":{}}`)...)
	case client.Poll:
		return page(`{"events":[` + strings.Join(envelopes, ",") + `],"next":"9","closed":true}`)
	case client.SSE:
	}
	var text strings.Builder
	for i, e := range envelopes {
		fmt.Fprintf(&text, "id: %d\ndata: %s\n\n", i+1, e)
	}
	return stream(text.String() + "event: fairlead.end\ndata: {}\n\n")
}

func TestAnEventThatCannotBeReadDoesNotEndTheSubscription(t *testing.T) {
	t.Parallel()
	const badData, badName = `{"topic":"a","cursor":"2","data_base64":"!"}`, `{"topic":"a","cursor":"3","key":7,"data":"c"}`
	for _, transport := range []client.Transport{client.SSE, client.WebSocket, client.Poll} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, enveloped(transport,
					`{"topic":"a","cursor":"1","key":"k","time":"yesterday","data":"a"}`, badData, badName,
					`{"topic":"a","cursor":"4","time":"2026-01-02T03:04:05Z","data":"d"}`))
				var events []fairlead.Event
				for item, err := range client.Subscribe(t.Context(), url+"?format=envelope", client.Config{Transport: transport, HTTP: s.Client, After: "0"}) {
					if err != nil {
						t.Fatal(err)
					}
					if item.Kind == client.KindEvent {
						events = append(events, item.Event)
					}
				}
				var got []string
				for _, e := range events {
					got = append(got, string(e.Data)+"@"+string(e.Cursor))
				}
				if want := []string{"a@1", badData + "@2", badName + "@3", "d@4"}; !slices.Equal(got, want) {
					t.Fatalf("%q, want %q", got, want)
				}
				if e := events[0]; !e.Time.IsZero() || e.Key != "k" {
					t.Errorf("%+v", e)
				}
				if e := events[3]; !e.Time.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

func TestJSONThatIsNoEnvelopeIsData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, enveloped(client.SSE, `{"data":"mine"}`))
		items, err := collect(t.Context(), url+"?format=envelope", client.Config{HTTP: s.Client})
		if want := []string{`{"data":"mine"}@1`, "end@1"}; !slices.Equal(items, want) || err != nil {
			t.Errorf("%q, %v, want %q", items, err, want)
		}
	})
}
