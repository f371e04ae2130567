package client_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
)

func TestPublishSendsTheEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			for name, want := range map[string]string{
				"Fairlead-Type": "tick", "Fairlead-Key": "eur", "Fairlead-Critical": "?1", "Content-Type": "application/json",
				"Traceparent": "00-1", "Authorization": "Bearer secret", "X-Own": "1",
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if r.Method != http.MethodPost || string(body) != "{}" || len(r.Header.Get("Idempotency-Key")) < 20 {
				t.Errorf("%s %q %v", r.Method, body, r.Header)
			}
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"cursor":"c1"}`)
		})
		got, err := client.Publish(t.Context(), url, fairlead.Event{
			Type: "tick", Key: "eur", Critical: true, ContentType: "application/json", Traceparent: "00-1", Data: []byte("{}"),
		}, client.Config{HTTP: s.Client, Token: "secret", Header: http.Header{"X-Own": {"1"}}})
		if got != "c1" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestPublishTriesAgainUnderOneKeyFiveTimesAtMost(t *testing.T) {
	t.Parallel()
	lost := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(201)
		panic(http.ErrAbortHandler)
	}
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		all    []http.HandlerFunc
		want   string
		code   fairlead.Code
		tries  int
		waited time.Duration // at least
	}{
		"lost answers":          {[]http.HandlerFunc{lost, lost, answer(`{"cursor":"c"}`)}, "c", "", 3, 0},
		"patience is asked for": {[]http.HandlerFunc{status(429, "Retry-After", "5"), status(503, "Retry-After", "6"), answer(`{"cursor":"c"}`)}, "c", "", 3, 11 * time.Second},
		"silence":               {[]http.HandlerFunc{mute, answer(`{"cursor":"c"}`)}, "c", "", 2, 45 * time.Second},
		"a server that is down": {[]http.HandlerFunc{status(503)}, "", fairlead.Overloaded, 5, 0},
		"a body that is slow":   {[]http.HandlerFunc{status(408)}, "", fairlead.RequestTimeout, 5, 0},
		"a refusal":             {[]http.HandlerFunc{status(403)}, "", fairlead.PermissionDenied, 1, 0},
		"another body":          {[]http.HandlerFunc{status(422)}, "", fairlead.KeyReused, 1, 0},
		"no topic":              {[]http.HandlerFunc{status(200)}, "", fairlead.NotAcceptable, 1, 0},
		"no cursor":             {[]http.HandlerFunc{answer(`{}`)}, "", fairlead.NotAcceptable, 1, 0},
		"a batch":               {[]http.HandlerFunc{answer(`{"cursors":["a","b"],"count":2}`)}, "b", "", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var keys []string
				next := replies(c.all...)
				s := serve(t, func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					keys = append(keys, r.Header.Get("Idempotency-Key"))
					mu.Unlock()
					_, _ = io.Copy(io.Discard, r.Body)
					next(w, r)
				})
				began := time.Now()
				got, err := client.Publish(t.Context(), url, fairlead.Event{Data: []byte("x")}, client.Config{HTTP: s.Client})
				if string(got) != c.want || (err == nil) != (c.code == "") || err != nil && codeOf(t, err) != c.code {
					t.Errorf("%q, %v", got, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(keys) != c.tries || len(slices.Compact(keys)) != 1 || keys[0] == "" {
					t.Errorf("keys %q, want one in %d tries", keys, c.tries)
				}
				if time.Since(began) < c.waited {
					t.Errorf("waited %v", time.Since(began))
				}
			})
		})
	}
}

func TestWhatNobodyCouldPublishIsNotSent(t *testing.T) {
	t.Parallel()
	for _, e := range []fairlead.Event{{Type: "fairlead.end"}, {Key: "a\nb"}, {Key: "a\x01"}, {Type: strings.Repeat("x", 2000)}} {
		if _, err := client.Publish(t.Context(), url, e, client.Config{}); codeOf(t, err) != fairlead.InvalidArgument {
			t.Errorf("%v: %v", &e, err)
		}
	}
}

func TestAPublishThatIsCancelledSaysWhy(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	for _, h := range []http.HandlerFunc{mute, status(500)} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, h)
			ctx, cancel := contextUntil(t, 100*time.Millisecond, why)
			defer cancel()
			if _, err := client.Publish(ctx, url, fairlead.Event{}, client.Config{HTTP: s.Client}); err != why {
				t.Error(err)
			}
		})
	}
}
