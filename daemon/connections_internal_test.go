package daemon

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
)

func TestAConnectionThatWasTakenOverCountsFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	for session, reason := range map[fairlead.Code]string{
		"": "server_closed", fairlead.Cancelled: "client_closed", fairlead.Draining: "draining", fairlead.TooSlow: "too_slow",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newWatcher(io.Discard)
				var lease deliver.Lease
				_, conn := serveInMemory(t, d.watch(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/" {
						return
					}
					taken, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					lease = d.take(r)
					_ = taken.Close()
				})))
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				_, _ = conn.Read(make([]byte, 1000))
				time.Sleep(time.Minute) // it is kept
				_, _ = io.WriteString(conn, "GET /topics/a HTTP/1.1\r\nHost: a\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn) // until it is closed
				synctest.Wait()
				text := func() string {
					w := httptest.NewRecorder()
					d.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
					return w.Body.String()
				}
				if strings.Contains(text(), "fairlead_connections_closed_total{") {
					t.Error("it has ended before its end")
				}
				lease.Ended(deliver.Ended{Reason: session, Lasted: time.Hour})
				for _, want := range []string{
					`fairlead_connections_closed_total{listener="http",reason="` + reason + `"} 1`,
					`fairlead_connection_duration_seconds_sum{listener="http",protocol="h1"} 3660`,
				} {
					if !strings.Contains(text(), want+"\n") {
						t.Errorf("the scrape lacks %s", want)
					}
				}
			})
		})
	}
}

func TestAConnectionThatWasKeptForLongBeforeItWasTakenOverCountsAsTheLongestThatIsKnown(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]uint16{
		-time.Second: 0, 1999 * time.Millisecond: 1, math.MaxUint16 * time.Second: math.MaxUint16,
		(math.MaxUint16 + 1) * time.Second: math.MaxUint16, 1000 * time.Hour: math.MaxUint16,
	} {
		if got := wholeSeconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
