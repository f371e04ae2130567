package client_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/fairlead-edge/fairlead/client"
)

const captured = "/.well-known/fairlead/streams/x"

func TestAnEventStreamGoesOnAfterTheLastID(t *testing.T) {
	t.Parallel()
	const end = "event: fairlead.end\ndata: {}\n\n"
	where := []string{"Content-Location", captured}
	for name, c := range map[string]struct {
		after     string
		all       []http.HandlerFunc
		want, ask []string
	}{
		"a cut inside an event": {
			"", []http.HandlerFunc{cut("id: 1\ndata: a\n\nid: 2\ndata: b\n"), stream("id: 2\ndata: b\n\n"), status(204)},
			[]string{"a@1", "b@2"}, []string{"/topics/a ", "/topics/a 1", "/topics/a 2"},
		},
		"an id without an event": {
			"earliest", []http.HandlerFunc{cut("id: p\nretry: 1\n\n"), status(204)},
			nil, []string{"/topics/a?after=earliest ", "/topics/a p"},
		},
		"a word until there is a place": {
			"snapshot", []http.HandlerFunc{cut(":\n"), stream("id: 1\ndata: a\n\n" + end)},
			[]string{"a@1", "end@1"}, []string{"/topics/a?after=snapshot ", "/topics/a?after=snapshot "},
		},
		"ids of other servers": {
			"", []http.HandlerFunc{cut("id: latest\ndata: a\n\n"), cut("data: b\n\n"), cut("id\ndata: c\n\n"), status(204)},
			[]string{"a@latest", "b@latest", "c@"}, []string{"/topics/a ", "/topics/a latest", "/topics/a latest", "/topics/a "},
		},
		"composite ids": {
			"a:1,b:2", []http.HandlerFunc{status(204)}, nil, []string{"/topics/a a:1,b:2"},
		},
		"a gap, and a fault": {
			"0", []http.HandlerFunc{stream("id: 4\nevent: fairlead.gap\ndata: {\"after\":\"0\",\"earliest\":\"5\",\"skipped\":4}\n\nid: 6\nevent: fairlead.fault\ndata: {\"code\":\"unavailable\",\"message\":\"m\"}\n\n")},
			[]string{"gap(0..5 4)@4", "fault(unavailable: m)@6"}, []string{"/topics/a 0"},
		},
		"control events that cannot be read": {
			"", []http.HandlerFunc{stream("event: fairlead.gap\ndata: x\n\nevent: fairlead.fault\ndata: x\n\n")},
			[]string{"gap(.. -1)@", "fault(fault: the source of the stream broke)@"}, []string{"/topics/a "},
		},
		"heartbeats as events": {
			"", []http.HandlerFunc{stream("id: 3\nevent: fairlead.ping\ndata: {}\n\nevent: fairlead.draining\ndata: {}\n\n"), status(204)},
			nil, []string{"/topics/a ", "/topics/a 3"},
		},
		"a captured stream ends with its first body": {
			"", []http.HandlerFunc{stream("id: 1\ndata: a\n\n", where...)},
			[]string{"a@1", "end@1"}, []string{"/topics/a "},
		},
		"a captured stream that was cut is resumed": {
			"", []http.HandlerFunc{cut("id: 1\ndata: a\n\n", where...), cut("id: 2\ndata: b\n\n", where...),
				stream("event: fairlead.draining\ndata: {}\n\n", where...), stream("id: 3\ndata: c\n\n" + end)},
			[]string{"a@1", "b@2", "c@3", "end@3"}, []string{"/topics/a ", captured + " 1", captured + " 2", captured + " 2"},
		},
		"a captured stream elsewhere is not followed": {
			"", []http.HandlerFunc{cut("id: 1\ndata: a\n\n", "Content-Location", "http://other.test"+captured), status(204)},
			[]string{"a@1"}, []string{"/topics/a ", "/topics/a 1"},
		},
		"another Content-Location means nothing": {
			"", []http.HandlerFunc{stream("id: 1\ndata: a\n\n", "Content-Location", "/topics/a.sse"), status(204)},
			[]string{"a@1"}, []string{"/topics/a ", "/topics/a 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a asked
				s := serve(t, gets(a.by(replies(c.all...))))
				items, err := collect(t.Context(), url, client.Config{HTTP: s.Client, After: cursor(c.after)})
				if !slices.Equal(items, c.want) || err != nil {
					t.Errorf("%q, %v, want %q", items, err, c.want)
				}
				a.want(t, "GET %s", c.ask)
			})
		})
	}
}

func TestACapturedStreamIsResumedWithTheQueryThatSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a asked
		s := serve(t, gets(a.by(replies(cut("id: 1\ndata: a\n\n", "Content-Location", captured), status(204)))))
		_, _ = collect(t.Context(), url+"?user=me&offset=5", client.Config{HTTP: s.Client})
		if got, want := a.requests(), []string{"GET /topics/a?user=me&offset=5 ", "GET " + captured + "?user=me 1"}; !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
	})
}

// A body that only the connection delimits ends the same when it is cut.
func TestACapturedStreamWithoutAnEndOfItsOwnIsAskedWhetherItEnded(t *testing.T) {
	t.Parallel()
	var a asked
	s := httptest.NewServer(gets(a.by(replies(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\nContent-Location: " + captured + "\r\n\r\nid: 1\ndata: a\n\n"))
		_ = conn.Close()
	}, status(204)))))
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	items, err := collect(t.Context(), s.URL, client.Config{HTTP: s.Client(), MinBackoff: 1})
	if !slices.Equal(items, []string{"a@1"}) || err != nil || len(a.requests()) != 2 {
		t.Errorf("%q, %v, asked %q", items, err, a.requests())
	}
}

func TestADropAtAnyByteLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	const whole = "id: 0\nretry: 1\n\nid: 1\ndata: a\n\n: skipped 2\nid: 2\nevent: t\ndata: b\ndata: b\n\nid: 3\ndata: c\n\nid: 4\nevent: fairlead.end\ndata: {}\n\n"
	starts := map[string]string{"": whole}
	for i := range len(whole) {
		if rest, found := whole[i:], i > 1 && whole[i-2:i] == "\n\n"; found {
			starts[string(rune('0'+len(starts)-1))] = rest
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			rest := starts[r.Header.Get("Last-Event-ID")]
			if n := rand.N(len(rest) * 2); n < len(rest) {
				cut(rest[:n])(w, r)
			}
			stream(rest)(w, r)
		})
		for range 300 {
			items, err := collect(t.Context(), url, client.Config{HTTP: s.Client})
			if want := []string{"a@1", "b\nb@2", "c@3", "end@4"}; !slices.Equal(items, want) || err != nil {
				t.Fatalf("%q, %v, want %q", items, err, want)
			}
		}
	})
}
