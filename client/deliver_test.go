package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

var transports = []client.Transport{client.SSE, client.WebSocket, client.GRPC, client.Poll}

// patience bounds a test that would otherwise hang.
const patience = 30 * time.Second

// topics serves real topics, at the URL of one of them.
func topics(t *testing.T, wrap func(http.Handler) http.Handler, policy topic.Policy) (at string, cfg client.Config, h *deliver.Handler, store *topic.Store) {
	t.Helper()
	store = topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return policy }})
	h = deliver.New(deliver.Config{Topics: store, AllowPublish: true})
	s := httptest.NewUnstartedServer(wrap(both(h)))
	s.Config.Protocols = protocols()
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/topics/a", client.Config{HTTP: s.Client(), MinBackoff: time.Millisecond}, h, store
}

func plain(h http.Handler) http.Handler { return h }

// both serves the topics of h over HTTP and over gRPC.
func both(h *deliver.Handler) http.Handler {
	calls := rpc.New(rpc.Config{Readers: h})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Serves(r.URL.Path) {
			calls.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func publish(t *testing.T, at string, cfg client.Config, all ...string) (cursors []fairlead.Cursor) {
	t.Helper()
	for _, data := range all {
		c, err := client.Publish(t.Context(), at, fairlead.Event{Data: []byte(data)}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, c)
	}
	return cursors
}

// read reads n events and returns their data and the last one's cursor.
func read(t *testing.T, at string, cfg client.Config, n int) (data []string, last fairlead.Cursor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for item, err := range client.Subscribe(ctx, at, cfg) {
		if err != nil {
			t.Fatal(err)
		}
		data, last = append(data, string(item.Event.Data)), item.Cursor
		if len(data) == n {
			break
		}
	}
	return data, last
}

func TestACursorGoesFromTransportToTransport(t *testing.T) {
	t.Parallel()
	at, cfg, _, _ := topics(t, plain, topic.Policy{})
	var want, got []string
	for i := range 60 {
		want = append(want, fmt.Sprint("event ", i))
	}
	publish(t, at, cfg, want...)
	cfg.After = fairlead.Earliest
	for i := 0; len(got) < len(want); i++ {
		cfg.Transport = transports[i%len(transports)]
		var data []string
		data, cfg.After = read(t, at, cfg, 4)
		got = append(got, data...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEveryTransportReadsATopicToItsEnd(t *testing.T) {
	t.Parallel()
	at, cfg, _, store := topics(t, plain, topic.Policy{})
	cursors := publish(t, at, cfg, "a", "b")
	l, err := store.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, cfg.Transport = range transports {
		cfg.After = fairlead.Earliest
		items, err := collect(t.Context(), at, cfg)
		want := []string{"a@" + string(cursors[0]), "b@" + string(cursors[1])}
		if err != nil || len(items) != 3 || !slices.Equal(items[:2], want) || items[2][:4] != "end@" {
			t.Errorf("%s: %q, %v", cfg.Transport, items, err)
		}
		cfg.After = ""
		if items, err = collect(t.Context(), at, cfg); err != nil || len(items) != 1 || items[0][:4] != "end@" {
			t.Errorf("%s from latest: %q, %v", cfg.Transport, items, err)
		}
		if cfg.After = cursor(items[0][4:]); cfg.Transport != client.SSE {
			continue
		}
		if items, err = collect(t.Context(), at, cfg); err != nil || items != nil {
			t.Errorf("%s from the end: %q, %v", cfg.Transport, items, err)
		}
	}
}

func TestEveryTransportTellsAFaultAndAGap(t *testing.T) {
	t.Parallel()
	at, cfg, _, store := topics(t, plain, topic.Policy{Events: 2})
	cursors := publish(t, at, cfg, "a", "b", "c", "d")
	l, err := store.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	l.Fault(fairlead.Errorf(fairlead.Unavailable, "it broke"))
	for _, cfg.Transport = range transports {
		cfg.After = cursors[0]
		var kinds []client.Kind
		for item, err := range client.Subscribe(t.Context(), at, cfg) {
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, item.Kind)
			if item.Kind == client.KindGap && (item.Gap.After != cursors[0] || item.Gap.Skipped != 1) {
				t.Errorf("%s: %+v", cfg.Transport, item.Gap)
			}
			if item.Kind == client.KindFault && (item.Fault.Code != fairlead.Unavailable || item.Fault.Message != "it broke") {
				t.Errorf("%s: %+v", cfg.Transport, item.Fault)
			}
		}
		if want := []client.Kind{client.KindGap, client.KindEvent, client.KindEvent, client.KindFault}; !slices.Equal(kinds, want) {
			t.Errorf("%s: %v, want %v", cfg.Transport, kinds, want)
		}
	}
}

func TestBytesThatAreNotTextArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	at, cfg, _, _ := topics(t, plain, topic.Policy{})
	publish(t, at, cfg, "\xff\x00\r\n", "a\r\nb")
	cfg.After = fairlead.Earliest
	for _, cfg.Transport = range transports {
		if data, _ := read(t, at+"?format=envelope", cfg, 2); !slices.Equal(data, []string{"\xff\x00\r\n", "a\r\nb"}) {
			t.Errorf("%s: %q", cfg.Transport, data)
		}
	}
}

// The first answers to a publish are lost after the event was stored.
func TestAPublishWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	at, cfg, _, store := topics(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && posts.Add(1) < 3 {
				h.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	}, topic.Policy{})
	c := publish(t, at, cfg, "once")
	l, err := store.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	if posts.Load() != 3 || l.Bounds().Latest != c[0] || l.Stats().Events != 1 {
		t.Errorf("%d posts, %+v", posts.Load(), l.Stats())
	}
}

// Two nodes serve one store; the first one drains while it is read.
func TestAReaderOfADrainingServerGoesOnAtAnother(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { changeNodes(t, transport) })
		})
	}
}

func changeNodes(t *testing.T, transport client.Transport) {
	store := topic.NewStore(topic.StoreConfig{})
	node := func() *deliver.Handler { return deliver.New(deliver.Config{Topics: store, AllowPublish: true}) }
	first := node()
	var serving atomic.Value
	serving.Store(both(first))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { serving.Load().(http.Handler).ServeHTTP(w, r) })
	var d delays
	cfg := client.Config{HTTP: s.Client, Transport: transport, After: fairlead.Earliest, OnRetry: d.note}
	publish(t, url, cfg, "a")

	var got []string
	var drained sync.WaitGroup
	for item, err := range client.Subscribe(t.Context(), url, cfg) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(item.Event.Data))
		if len(got) == 3 {
			break
		}
		if len(got) > 1 {
			continue
		}
		serving.Store(both(node()))
		drained.Go(func() {
			if err := first.Drain(t.Context(), 0); err != nil {
				t.Error(err)
			}
			for _, data := range []string{"b", "c"} {
				if _, err := client.Publish(t.Context(), url, fairlead.Event{Data: []byte(data)}, client.Config{HTTP: s.Client}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	drained.Wait()
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if transport != client.Poll { // which was between two pages
		d.within(t, [2]time.Duration{time.Second, 3 * time.Second})
	}
}
