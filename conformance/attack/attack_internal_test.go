package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// served starts what the attacks are made on.
func served(t *testing.T) target {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "calm")
	})
	plain, secure := httptest.NewUnstartedServer(h), httptest.NewTLSServer(h)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return target{http: strings.TrimPrefix(plain.URL, "http://"), https: strings.TrimPrefix(secure.URL, "https://")}
}

func TestEachAttackIsMadeUntilItsTimeIsOver(t *testing.T) {
	to := served(t)
	for _, a := range attacks {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var made atomic.Int64
		a.make(ctx, to, &made)
		cancel()
		if (made.Load() == 0) != (a.name == "none") {
			t.Errorf("%s: %d were made", a.name, made.Load())
		}
	}
}

func TestOtherClientsAreMeasured(t *testing.T) {
	l, err := load(t.Context(), served(t), 250*time.Millisecond)
	if err != nil || len(l) != rate/4 || !slices.IsSorted(l) || l.at(0.99) < l.at(0.5) {
		t.Errorf("%d latencies from %v to %v, %v", len(l), l.at(0), l.at(1), err)
	}
}
