package client_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/websocket"
)

func accept(w http.ResponseWriter, r *http.Request) *websocket.Conn {
	c, err := websocket.Accept(w, r, websocket.Config{WriteTimeout: time.Hour})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return c
}

func say(c *websocket.Conn, messages ...string) {
	for _, m := range messages {
		_ = c.Write(websocket.Text, []byte(m))
	}
}

// sending sends messages and then waits for the client to leave.
func sending(messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		c := accept(w, r)
		say(c, messages...)
		_, _, _ = c.Read()
		_ = c.CloseNow()
	}
}

// closing sends messages and closes.
func closing(code int, messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := accept(w, r)
		say(c, messages...)
		_ = c.Close(code, "why")
	}
}

// dropping sends messages and breaks the connection.
func dropping(messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := accept(w, r)
		say(c, messages...)
		_ = c.CloseNow()
	}
}

func contextUntil(t *testing.T, d time.Duration, why error) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeoutCause(t.Context(), d, why)
}

func TestAWebSocketGoesOnAfterTheLastEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		all       []http.HandlerFunc
		want, ask []string
	}{
		"a drop": {
			[]http.HandlerFunc{dropping(`{"cursor":"1","data":"a"}`, `{"cursor":"2","data":"b"}`), dropping(), sending(`{"cursor":"3","data":"c"}`, `{"end":{}}`)},
			[]string{"a@1", "b@2", "c@3", "end@3"}, []string{"0", "2", "2"},
		},
		"too slow": {
			[]http.HandlerFunc{closing(4408, `{"cursor":"1","data":"a"}`), closing(1000)},
			[]string{"a@1"}, []string{"0", "1"},
		},
		"draining, which says where": {
			[]http.HandlerFunc{closing(1012, `{"draining":{"retry_after_ms":1,"cursors":{"a":"7"}}}`), closing(1000)},
			nil, []string{"0", "7"},
		},
		"a gap": {
			[]http.HandlerFunc{closing(1013, `{"gap":{"after":"0","earliest":"5","skipped":4}}`, `{"cursor":"5","data":"e","skipped":2}`), closing(1000)},
			[]string{"gap(0..5 4)@0", "e@5"}, []string{"0", "5"},
		},
		"a gap of unknown size": {
			[]http.HandlerFunc{closing(1000, `{"gap":{"after":"0","earliest":"5","skipped":null}}`)},
			[]string{"gap(0..5 -1)@0"}, []string{"0"},
		},
		"a fault": {
			[]http.HandlerFunc{closing(4500, `{"fault":{"code":"unavailable","message":"broke"}}`)},
			[]string{"fault(unavailable: broke)@0"}, []string{"0"},
		},
		"members that are not known": {
			[]http.HandlerFunc{closing(1000, `{"new":1}`, `{"error":{"code":"x"}}`, `{"cursor":"1","data":{"a":[1]},"content_type":"application/json","new":{}}`)},
			[]string{`{"a":[1]}@1`}, []string{"0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a asked
				s := serve(t, a.by(replies(c.all...)))
				items, err := collect(t.Context(), url, client.Config{Transport: client.WebSocket, HTTP: s.Client, After: "0"})
				if !slices.Equal(items, c.want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, c.want)
				}
				a.want(t, "GET /topics/a?after=%s ", c.ask)
			})
		})
	}
}

// A WebSocket does not say where it begins, so that the reader must.
func TestAWebSocketThatDropsBeforeItsFirstEventMissesNothing(t *testing.T) {
	t.Parallel()
	for after, want := range map[string][]string{
		"":         {"HEAD /topics/a ", "GET /topics/a?after=6 ", "GET /topics/a?after=6 "},
		"latest":   {"HEAD /topics/a ", "GET /topics/a?after=6 ", "GET /topics/a?after=6 "},
		"earliest": {"GET /topics/a?after=earliest ", "GET /topics/a?after=earliest "},
	} {
		synctest.Test(t, func(t *testing.T) {
			var a asked
			h := replies(dropping(), closing(1000))
			s := serve(t, a.by(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.Header().Set("Fairlead-Latest", "6")
					return
				}
				h(w, r)
			}))
			if items, err := collect(t.Context(), url, client.Config{Transport: client.WebSocket, HTTP: s.Client, After: cursor(after)}); items != nil || err != nil {
				t.Errorf("%q, %v", items, err)
			}
			if got := a.requests(); !slices.Equal(got, want) {
				t.Errorf("%q: asked %q, want %q", after, got, want)
			}
		})
	}
}
