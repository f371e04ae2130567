package upstream_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAPeerThatClosesAtOnceGetsAConnectionForEachRequestAndNoStorm(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	s.Config.IdleTimeout = time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	p := pool(t, s.URL)
	const requests = 50
	for range requests {
		if _, text := do(t, p, http.MethodGet, "http://pool/", nil); text != "ok" {
			t.Fatal(text)
		}
	}
	if dials := p.Snapshot().Dials["ok"]; dials > 2*requests {
		t.Errorf("%d connections for %d requests", dials, requests)
	}
}
