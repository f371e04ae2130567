package client_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/topic"
)

// gets passes on what is no HEAD, which many servers of event streams refuse.
func gets(h http.HandlerFunc) http.HandlerFunc { return headed(status(405), h) }

// headed answers HEAD with one handler and all else with the other.
func headed(head, other http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			head(w, r)
			return
		}
		other(w, r)
	}
}

func TestAnEventIsTheSameOverEveryTransport(t *testing.T) {
	t.Parallel()
	at, cfg, _, _ := topics(t, plain, topic.Policy{})
	for _, e := range []fairlead.Event{
		{Type: "tick", Key: "k", ContentType: "application/octet-stream", Data: []byte("\xff\x00\r\n")},
		{Type: "tick", ContentType: "application/json", Data: []byte(`{"topic":"b","data":"c"}`)},
		{Data: []byte("a\r\nb")},
	} {
		if _, err := client.Publish(t.Context(), at, e, cfg); err != nil {
			t.Fatal(err)
		}
	}
	cfg.After = fairlead.Earliest
	var first []fairlead.Event
	for _, cfg.Transport = range transports {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var got []fairlead.Event
		for item, err := range client.Subscribe(ctx, at, cfg) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, item.Event); len(got) == 3 {
				break
			}
		}
		cancel()
		if first == nil {
			first = got
		}
		for i, e := range got {
			f := first[i]
			if e.Topic != "a" || e.Time.IsZero() || !e.Time.Equal(f.Time) || e.Type != f.Type || e.Key != f.Key || e.Cursor != f.Cursor || string(e.Data) != string(f.Data) {
				t.Errorf("%s: %+v, want %+v", cfg.Transport, e, f)
			}
		}
	}
	if string(first[0].Data) != "\xff\x00\r\n" || first[0].Key != "k" {
		t.Errorf("%+v", first[0])
	}
}

func TestAnEventStreamIsAskedOnceWhetherItIsATopics(t *testing.T) {
	t.Parallel()
	known := status(200, "Fairlead-Latest", "6")
	refusal := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	const envelope = "id: 7\ndata: {\"topic\":\"a\",\"cursor\":\"7\",\"data\":\"x\"}\n\n"
	for name, c := range map[string]struct {
		path, after string
		head        http.HandlerFunc
		all         []http.HandlerFunc
		want, ask   []string
	}{
		"a topic, from where it is": {
			"/topics/a", "", known, []http.HandlerFunc{cut(""), cut(envelope), status(204)},
			[]string{"x@7"}, []string{"HEAD /topics/a ", "GET /topics/a?format=envelope 6", "GET /topics/a?format=envelope 6", "GET /topics/a?format=envelope 7"},
		},
		"a topic, from latest in the URL": {
			"/topics/a?after=latest", "", known, []http.HandlerFunc{status(204)},
			nil, []string{"HEAD /topics/a?after=latest ", "GET /topics/a?after=latest&format=envelope 6"},
		},
		"a topic, from elsewhere": {
			"/topics/a", "earliest", known, []http.HandlerFunc{status(204)},
			nil, []string{"HEAD /topics/a ", "GET /topics/a?after=earliest&format=envelope "},
		},
		"a format of the caller's": {
			"/topics/a?format=envelope", "", known, []http.HandlerFunc{stream(envelope), status(204)},
			[]string{"x@7"}, []string{"GET /topics/a?format=envelope ", "GET /topics/a?format=envelope 7"},
		},
		"a captured stream": {
			captured, "", known, []http.HandlerFunc{status(204)}, nil, []string{"GET " + captured + " "},
		},
		"a stream that is captured there": {
			"/topics/a", "", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != captured {
					http.Redirect(w, r, captured, http.StatusFound)
					return
				}
				known(w, r)
			},
			[]http.HandlerFunc{status(204)}, nil, []string{"HEAD /topics/a ", "HEAD " + captured + " ", "GET /topics/a "},
		},
		"a server that does not know HEAD": {
			"/topics/a", "", status(405), []http.HandlerFunc{cut("id: 1\ndata: a\n\n"), status(204)},
			[]string{"a@1"}, []string{"HEAD /topics/a ", "GET /topics/a ", "GET /topics/a 1"},
		},
		"a server that never answers HEAD": {
			"/topics/a", "", mute, []http.HandlerFunc{status(503), cut("id: 1\ndata: a\n\n"), status(204)},
			[]string{"a@1"}, []string{"HEAD /topics/a ", "GET /topics/a ", "GET /topics/a ", "GET /topics/a 1"},
		},
		"a server that breaks on HEAD": {
			"/topics/a", "", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, []http.HandlerFunc{cut("id: 1\ndata: a\n\n"), status(204)},
			[]string{"a@1"}, []string{"HEAD /topics/a ", "GET /topics/a ", "GET /topics/a 1"},
		},
		"a server that is down": {
			"/topics/a", "", onceThen(refusal, known), []http.HandlerFunc{refusal, status(204)},
			nil, []string{"HEAD /topics/a ", "GET /topics/a ", "HEAD /topics/a ", "GET /topics/a?format=envelope 6"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var a asked
				s := serve(t, a.by(headed(c.head, replies(c.all...))))
				began := time.Now()
				items, err := collect(t.Context(), "http://topic.test"+c.path, client.Config{HTTP: s.Client, After: cursor(c.after)})
				if !slices.Equal(items, c.want) || err != nil || time.Since(began) > 10*time.Second {
					t.Errorf("%q, %v after %v, want %q", items, err, time.Since(began), c.want)
				}
				a.want(t, "%s", c.ask)
			})
		})
	}
}

// onceThen answers the first request with one handler and all others with the
// other, whatever their method.
func onceThen(first, others http.HandlerFunc) http.HandlerFunc {
	all := make(chan http.HandlerFunc, 1)
	all <- first
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h := <-all:
			h(w, r)
		default:
			others(w, r)
		}
	}
}
