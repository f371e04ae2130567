package deliver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/wire"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestAPublishThatWaitsIsSentAwayWhenTheServerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy {
			return topic.Policy{Deliver: topic.Wait, Events: 1, WaitTimeout: time.Hour}
		}})
		h := deliver.New(deliver.Config{Topics: store, AllowPublish: true})
		publish := func(name string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/topics/"+name, bytes.NewReader([]byte("x"))))
			return w
		}
		if w := publish("full"); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		answers := make(chan *httptest.ResponseRecorder, 1)
		go func() { answers <- publish("full") }()
		synctest.Wait()
		refused := func(w *httptest.ResponseRecorder) {
			t.Helper()
			var p wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 503 || p.Code != fairlead.Draining || w.Header().Get("Retry-After") == "" {
				t.Errorf("got %d %s %q", w.Code, w.Body, w.Header())
			}
		}
		began := time.Now()
		if err := h.Drain(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		refused(<-answers)
		refused(publish("full"))
		if w := publish("roomy"); w.Code != 201 {
			t.Errorf("what need not wait is %d %s", w.Code, w.Body)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
