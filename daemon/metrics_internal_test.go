package daemon

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unique"

	"github.com/fairlead-edge/fairlead/compress"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestWithoutMetricsNothingIsCounted(t *testing.T) {
	t.Parallel()
	for _, counts := range []bool{false, true} {
		d := newWatcher(io.Discard)
		d.log, d.counts = slog.New(slog.DiscardHandler), counts
		d.site.Load().pattern = func(string) string { return anyMany }
		before := countedBy(d)
		readers := deliver.New(deliver.Config{
			Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true, Take: d.take, Stay: d.stay, Observer: d.readerObserver([]string{"x"}),
		})
		h := d.watch(nil, readers)
		for _, r := range []*http.Request{
			httptest.NewRequest(http.MethodPost, "/topics/a", strings.NewReader("x")),
			httptest.NewRequest(http.MethodGet, "/topics/a?after=earliest", http.NoBody),
		} {
			r.Header.Set("Content-Type", "text/plain")
			r.Header.Set("Accept", "application/json")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code/100 != 2 {
				t.Fatalf("%s: %d %s", r.Method, w.Code, w.Body)
			}
		}
		d.coded(compress.Outcome{Coding: "gzip"})
		d.coding(compress.Progress{Coding: "gzip", Before: 1})
		(&detached{d: d, route: d.flights.hold(new(flight)), path: unique.Make("/")}).Ended(deliver.Ended{})
		if o := d.watchConnections(plainListener); (o.Heard != nil || o.Requested != nil || o.Idled != nil) != counts {
			t.Errorf("counts %v: %+v", counts, o)
		}
		now := slices.DeleteFunc(countedBy(d), func(line string) bool { return slices.Contains(before, line) })
		for _, family := range []string{
			"http_requests_total", "publishes_total", "events_delivered_total", "sessions_closed_total", "compression_responses_total", "compression_bytes_total", "connections_closed_total",
		} {
			if has := slices.ContainsFunc(now, func(line string) bool { return strings.Contains(line, family) }); has != counts {
				t.Errorf("counts %v: %s is counted %v", counts, family, has)
			}
		}
		if !counts && len(now) > 0 {
			t.Errorf("counted all the same: %q", now)
		}
	}
}

// countedBy returns what the metrics tell of this server.
func countedBy(d *daemon) []string {
	w := httptest.NewRecorder()
	d.metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	return slices.DeleteFunc(strings.Split(w.Body.String(), "\n"), func(line string) bool { return !strings.HasPrefix(line, "fairlead_") })
}
