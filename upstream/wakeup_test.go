package upstream_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// Against a server that restarts its connections at any moment, with callers
// that leave at any moment, nobody waits in vain: a connection or a place that
// was lost would starve those after it.
func TestNobodyWaitsInVainWhileConnectionsComeAndGo(t *testing.T) {
	for name, limits := range map[string]upstream.Connections{
		"few":          {Max: 2},
		"many":         {},
		"few requests": {Max: 4, MaxInFlight: 2, MinIdle: 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/break" {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, "ok")
			}))
			defer s.Close()
			p, err := upstream.New(upstream.Config{
				Endpoints: []string{s.URL}, Connections: limits, Replaces: true, Outliers: upstream.Outliers{Off: true},
				Queue: upstream.Queue{Timeout: 30 * time.Second}, // that of a busy machine
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			send := func(path string, patience time.Duration) error {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://pool"+path, nil)
				res, err := p.RoundTrip(req)
				if err != nil {
					return err
				}
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
				return err
			}
			for range 3 { // rounds, each after a restart
				var lanes sync.WaitGroup
				for lane := range 8 {
					lanes.Go(func() {
						for i := range 100 {
							switch {
							case lane == 0 && i%7 == 0:
								_ = send("/break", time.Minute)
							case lane == 1 && i%5 == 0:
								_ = send("/", time.Duration(i)*10*time.Microsecond)
							case lane == 2 && i%25 == 0:
								s.CloseClientConnections()
							default:
								_ = send("/", time.Minute)
							}
						}
					})
				}
				lanes.Wait()
				s.CloseClientConnections()
				if err := send("/", time.Minute); err != nil {
					t.Error(err)
				}
			}
			e := p.Snapshot()
			if e.Refusals["too_late"]+e.Refusals["queue_full"]+e.Refusals["dial"] > 0 {
				t.Errorf("refusals: %v", e.Refusals)
			}
			if now := e.Endpoints[0]; now.InFlight+now.Waiting != 0 {
				t.Errorf("%+v", now)
			}
		})
	}
}
