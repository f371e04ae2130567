package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestMain(m *testing.M) { leak.Main(m) }

// serve serves h in memory.
func serve(t *testing.T, h http.HandlerFunc) *memnet.Server {
	t.Helper()
	return memnet.Serve(t, &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, Protocols: protocols()}, &http.Transport{DisableKeepAlives: true})
}

// protocols are those of a server without TLS that takes gRPC, too.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// url is where every in-memory server is.
const url = "http://topic.test/topics/a"

// replies answers one request after the other, the last one for ever.
func replies(all ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := all[min(n, len(all)-1)]
		if r.Method != http.MethodHead {
			n++
		}
		mu.Unlock()
		h(w, r)
	}
}

// status answers with a status, and header fields in pairs.
func status(code int, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		w.WriteHeader(code)
	}
}

// stream answers with an event stream, and ends it cleanly.
func stream(text string, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if w.Header().Get("Content-Type") == "" { // it begins
			w.Header().Set("Content-Type", "text/event-stream")
			status(200, pairs...)(w, r)
		}
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush() // so that the body is chunked
	}
}

// cut answers with an event stream that breaks.
func cut(text string, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(text, pairs...)(w, r)
		panic(http.ErrAbortHandler)
	}
}

// page answers with a JSON page.
func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

// asked records what the requests asked for, before it passes them on.
type asked struct {
	mu  sync.Mutex
	all []string
}

func (a *asked) by(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.all = append(a.all, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Last-Event-ID"))
		a.mu.Unlock()
		h(w, r)
	}
}

func (a *asked) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// want holds the requests to what each was to ask for after, in the format's
// place.
func (a *asked) want(t *testing.T, format string, after []string) {
	t.Helper()
	want := make([]string, len(after))
	for i := range after {
		want[i] = fmt.Sprintf(format, after[i])
	}
	if got := a.requests(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// collect reads a subscription to its end, for a day at most.
func collect(ctx context.Context, url string, cfg client.Config) (items []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 24*time.Hour)
	defer cancel()
	for item, failed := range client.Subscribe(ctx, url, cfg) {
		if failed != nil {
			return items, failed
		}
		items = append(items, show(&item))
	}
	return items, nil
}

func show(item *client.Item) string {
	switch item.Kind {
	case client.KindGap:
		return fmt.Sprintf("gap(%s..%s %d)@%s", item.Gap.After, item.Gap.Earliest, item.Gap.Skipped, item.Cursor)
	case client.KindEnd:
		return "end@" + string(item.Cursor)
	case client.KindFault:
		return fmt.Sprintf("fault(%v)@%s", item.Fault, item.Cursor)
	case client.KindEvent:
	}
	return fmt.Sprintf("%s@%s", item.Event.Data, item.Cursor)
}

// codeOf returns the code of the error that ended a subscription.
func codeOf(t *testing.T, err error) fairlead.Code {
	t.Helper()
	e, ok := errors.AsType[*fairlead.Error](err)
	if !ok {
		t.Fatalf("%v has no code", err)
	}
	return e.Code
}
