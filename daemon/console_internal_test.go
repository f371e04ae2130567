package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/topic"
	"github.com/fairlead-edge/fairlead/upstream"
)

func newConsoleSource(counts bool, log *bytes.Buffer) *consoleSource {
	metrics := observe.New("", observe.Sources{})
	d := &daemon{leaving: make(chan struct{}), metrics: metrics, counts: counts, log: slog.New(slog.NewTextHandler(log, nil))}
	d.site.Store(&site{topics: topic.NewStore(topic.StoreConfig{}), captured: capture.NewStore(capture.StoreConfig{})})
	return &consoleSource{d: d, summary: metrics.Summary}
}

func TestTheConsoleHasNoNumbersOfWhatIsNotCounted(t *testing.T) {
	t.Parallel()
	for counts, has := range map[bool]bool{true: true, false: false} {
		var page map[string]any
		if err := json.Unmarshal(newConsoleSource(counts, new(bytes.Buffer)).snapshot(), &page); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"routes", "routes_total", "reuse", "compression", "events", "closed", "ended"} {
			if v, ok := page[key]; !ok || (v != nil) != has {
				t.Errorf("counts %v: %s is %v, %v", counts, key, v, ok)
			}
		}
	}
}

func TestMetricsThatTheConsoleCannotHaveAreLoggedOnceUntilItHasThem(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newConsoleSource(true, &log)
	var err error
	c.summary = func(int) (observe.Summary, error) { return observe.Summary{}, err }
	for i, fails := range []bool{true, true, true, false, true, true} {
		if err = nil; fails {
			err = errors.New("observe: summary: broken")
		}
		if s := c.metrics(); (s == nil) != fails {
			t.Errorf("%d: %v", i, s)
		}
	}
	if n := strings.Count(log.String(), "the console has no metrics"); n != 2 {
		t.Errorf("%d records: %s", n, &log)
	}
}

// manyEndpoints is a pool of more than are shown.
type manyEndpoints struct{ *fakePool }

func (manyEndpoints) Snapshot() upstream.Snapshot {
	all := make([]upstream.EndpointSnapshot, maxShown+1)
	for i := range all {
		all[i].State = "ok"
	}
	all[maxShown].State = "ejected"
	return upstream.Snapshot{Endpoints: all}
}

func TestTheConsoleShowsOfTheEndpointsOfAPoolAsManyAsItMay(t *testing.T) {
	t.Parallel()
	all := consolePools(map[string]pool{"few": &fakePool{last: 2}, "many": manyEndpoints{&fakePool{}}})
	if len(all) != 2 || all[0].Name != "few" || len(all[0].Endpoints) != 2 || all[0].AllEndpoints != 2 || len(all[0].Ring) != 2 || all[0].Ring[0].Seq != 2 {
		t.Errorf("few: %+v", all[0])
	}
	if many := all[1]; len(many.Endpoints) != maxShown || many.AllEndpoints != maxShown+1 || many.Endpoints[0].State != "ejected" {
		t.Errorf("many: %d of %d", len(many.Endpoints), many.AllEndpoints)
	}
}

func TestTheNewestConnectionsAreShownWhicheverListenerTheyAreOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{}
		var names []string
		for _, name := range []string{plainListener, plainListener, "https", "admin"} {
			s, conn := serveInMemory(t, http.NotFoundHandler())
			d.servers = append(d.servers, &server{Server: s, name: name})
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			_, _ = conn.Read(make([]byte, 1000))
			names = append([]string{name}, names...)
			time.Sleep(time.Second)
		}
		for limit := range len(names) + 2 {
			list, total := d.clients(limit)
			var got []string
			for _, c := range list {
				got = append(got, c.Listener)
			}
			if want := names[:min(limit, len(names))]; !slices.Equal(got, want) || total != len(names) {
				t.Errorf("of at most %d: %q of %d, want %q", limit, got, total, want)
			}
		}
	})
}
