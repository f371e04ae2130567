package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/observe"
)

func newWatcher(log io.Writer) *daemon {
	metrics := observe.New("", observe.Sources{Transports: deliver.Transports()})
	d := &daemon{
		leaving: make(chan struct{}), metrics: metrics, counts: true, plain: metrics.Connections(plainListener), access: slog.New(slog.NewTextHandler(log, nil)),
	}
	s := new(site)
	s.logs.connections.set(0)
	d.site.Store(s)
	return d
}

func TestARequestWhoseConnectionWasTakenIsOverWhenTheConnectionIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ ask, record string }{
		"events":    {"GET /topics/a?token=secret HTTP/1.1\r\nHost: a\r\n\r\n", "status=200"},
		"WebSocket": {"GET /topics/a?token=secret HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "status=101"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				d := newWatcher(&log)
				var lease deliver.Lease
				s, conn := serveInMemory(t, d.watch(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					d.flights.routed(r, "/topics/**")
					taken, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					lease = d.take(r)
					_ = taken.Close()
				})))
				_, _ = io.WriteString(conn, c.ask)
				_, _ = io.Copy(io.Discard, conn) // until it is closed
				synctest.Wait()
				time.Sleep(time.Hour)
				if log.Len() != 0 || d.flights.byRoute()["/topics/**"] != 1 || s.Stats().HTTP1 != 1 {
					t.Errorf("before the end: %v in flight, %+v, log: %s", d.flights.byRoute(), s.Stats(), &log)
				}
				lease.Ended(deliver.Ended{Bytes: 1234, Reason: fairlead.TooSlow, Lasted: time.Hour})
				want := `msg=request method=GET path=/topics/a route=/topics/** ` + c.record + ` duration_seconds=3600 bytes=1234 client="invalid IP" proto=HTTP/1.1 reason=too_slow`
				if !strings.Contains(log.String(), want) || len(d.flights.byRoute()) != 0 || s.Stats().HTTP1 != 0 || s.Stats().Closed != 1 {
					t.Errorf("at the end: %v in flight, %+v, log: %s", d.flights.byRoute(), s.Stats(), &log)
				}
			})
		})
	}
}

// serveInMemory serves h until the test ends, and returns a client's connection.
func serveInMemory(t *testing.T, h http.Handler) (*listen.Server, io.ReadWriteCloser) {
	t.Helper()
	s, err := listen.New(listen.Config{Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	n := memnet.New()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(n, nil) })
	conn, err := n.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = s.Close()
		serving.Wait()
	})
	return s, conn
}

func TestARequestThatNobodyWatchesIsTakenWithoutARecord(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	if lease := newWatcher(&log).take(httptest.NewRequest(http.MethodGet, "/", http.NoBody)); lease != nil || log.Len() != 0 {
		t.Errorf("%v, log: %s", lease, &log)
	}
}

func TestWhatIsKeptOfATakenRequestIsSmall(t *testing.T) { //nolint:paralleltest // it measures the heap
	const requests, most = 20_000, 104
	d := newWatcher(io.Discard)
	h := d.watch(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		done := d.take(r)
		*r.Context().Value(doneKey{}).(*deliver.Lease) = done //nolint:forcetypeassert // set below
	}))
	all := make([]deliver.Lease, requests)
	before := heap()
	for i := range all {
		r := httptest.NewRequest(http.MethodGet, "/topics/prices/EURUSD", http.NoBody)
		h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), doneKey{}, &all[i])))
	}
	each := (heap() - before) / requests
	t.Logf("%d bytes of each request", each)
	if each > most {
		t.Errorf("%d bytes of each request, want at most %d", each, most)
	}
	for _, done := range all {
		done.Ended(deliver.Ended{})
	}
}

type doneKey struct{}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools had in the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // some MiB
}
