package deliver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// handle serves a request of a client that has gone already, so that streams
// end as they begin.
func handle(h http.Handler, r *http.Request) (w *httptest.ResponseRecorder) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	w = httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r.WithContext(ctx))
	return w
}

func FuzzRead(f *testing.F) {
	topics := topic.NewStore(topic.StoreConfig{})
	for _, name := range []string{"a", "b"} {
		if _, err := topics.Append(f.Context(), name, topic.Batch{Events: []fairlead.Event{{Data: []byte("x")}}}); err != nil {
			f.Fatal(err)
		}
	}
	h := deliver.New(deliver.Config{Topics: topics})
	l, err := topics.Get("a")
	if err != nil {
		f.Fatal(err)
	}
	at := string(l.Bounds().Latest)
	f.Add("/topics/a", "after="+at, "", "application/json", "wait=3, x;y")
	f.Add("/topics", "topic=a&topic=b", "ca978112"+at+"~3e23e816"+at, "text/event-stream;q=0.5, */*", "")
	f.Add("/topics", "topic=a&topic=b&after=earliest&format=envelope&gap=fail", "~", "*/*", "")
	f.Add("/topics/a//b", "limit=0&%zz", "\x00", "a/b;q=x", "wait=\"9\"")
	f.Fuzz(func(t *testing.T, path, query, id, accept, prefer string) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.Header = http.Header{"Last-Event-Id": {id}, "Accept": {accept}, "Prefer": {prefer}}
		w := handle(h, r)
		if w.Code >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		if w.Code >= 500 {
			t.Errorf("%q %q %q: %d %s", path, query, id, w.Code, w.Body)
		}
	})
}

func FuzzPublish(f *testing.F) {
	f.Add("text/plain", "hello", "Fairlead-Critical", "?1")
	f.Add("application/x-ndjson", "1\n{}\n", "Fairlead-Close", "?0;a")
	f.Add("application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"s","type":"t","x":true,"data":"d"}`, "Fairlead-Type", "x")
	f.Add("application/cloudevents-batch+json", `[{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"AA=="},null]`, "Traceparent", "00-")
	f.Add("text/plain", "x", "Ce-Specversion", "1.0")
	f.Fuzz(func(t *testing.T, contentType, body, name, value string) {
		topics := topic.NewStore(topic.StoreConfig{})
		h := deliver.New(deliver.Config{Topics: topics, AllowPublish: true})
		r := httptest.NewRequest(http.MethodPost, "/topics/t", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {contentType}}
		r.Header.Add(name, value)
		w := handle(h, r)
		if w.Code != 201 && topics.Len() > 0 {
			t.Errorf("%d %s, and something is stored", w.Code, w.Body)
		}
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q %q: %d %s", contentType, body, w.Code, w.Body)
		}
		if w.Code != 201 {
			return
		}
		r = httptest.NewRequest(http.MethodGet, "/topics/t", http.NoBody)
		r.Header.Set("Accept", "application/json")
		if w := handle(h, r); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q %q is read as %d %s", contentType, body, w.Code, w.Body)
		}
		r = httptest.NewRequest(http.MethodGet, "/topics/t?after=earliest&format=envelope", http.NoBody)
		handle(h, r)
	})
}
