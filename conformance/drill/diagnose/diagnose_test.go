package diagnose_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/conformance/drill/diagnose"
)

// metrics reads a scrape.
func metrics(t *testing.T, text string) diagnose.Metrics {
	t.Helper()
	m, err := diagnose.ParseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// names returns the faults that are named, in order.
func names(found []diagnose.Finding) string {
	var all []string
	for _, f := range found {
		all = append(all, f.Fault)
	}
	return strings.Join(all, ", ")
}

// window is two snapshots, ten seconds apart, of which the first has seen nothing.
func window(t *testing.T, after string, pools ...diagnose.Pool) (before, is *diagnose.Snapshot) {
	t.Helper()
	now := time.Now()
	before = &diagnose.Snapshot{At: now, Pools: pools}
	return before, &diagnose.Snapshot{At: now.Add(10 * time.Second), Metrics: metrics(t, after), Pools: pools}
}

var pool = diagnose.Pool{Name: "api", Endpoints: []diagnose.Endpoint{{Endpoint: "http://a", State: "ok"}}}

func TestWhatHappensAtTimesIsNoFault(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"nothing at all":                         ``,
		"a bad answer now and then":              "fairlead_upstream_endpoint_failures_total{pool=\"api\",endpoint=\"http://a\"} 20\nfairlead_upstream_endpoint_requests_total{pool=\"api\",endpoint=\"http://a\"} 50",
		"a few bad answers":                      "fairlead_upstream_endpoint_failures_total{pool=\"api\",endpoint=\"http://a\"} 4\nfairlead_upstream_endpoint_requests_total{pool=\"api\",endpoint=\"http://a\"} 4",
		"one stale connection":                   `fairlead_upstream_connections_closed_total{pool="api",reason="stale"} 1`,
		"GOAWAY after a thousand requests each":  "fairlead_upstream_connections_closed_total{pool=\"api\",reason=\"goaway\"} 5\nfairlead_upstream_requests_total{pool=\"api\"} 5000",
		"a limit on connections with room to go": "fairlead_connections_refused_total{limit=\"total\"} 5\nprocess_max_fds 1000\nprocess_open_fds 100",
		"a limit where descriptors are unknown":  `fairlead_connections_refused_total{limit="total"} 5`,
		"descriptors in use and nobody refused":  "process_max_fds 1000\nprocess_open_fds 900",
		"many who come and stay":                 "fairlead_sessions_opened_total 5000\nfairlead_sessions_closed_total 10\nfairlead_sessions 4990",
		"many who come and go among many more":   "fairlead_sessions_opened_total 500\nfairlead_sessions_closed_total 500\nfairlead_sessions 100000",
	} {
		if got := diagnose.Compare(window(t, text, pool)); len(got) > 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestAnEndpointThatAnswersBadlyIsNamed(t *testing.T) {
	t.Parallel()
	found := diagnose.Compare(window(t, "fairlead_upstream_endpoint_failures_total{pool=\"api\",endpoint=\"http://a\"} 30\n"+
		"fairlead_upstream_endpoint_requests_total{pool=\"api\",endpoint=\"http://a\"} 50", pool))
	if names(found) != "bad answers" || found[0].Evidence != "pool api: of 50 requests to http://a 30 failed or were answered with a status of 500 or more" {
		t.Errorf("%v", found)
	}
}

func TestACauseIsToldAndWhatFollowsFromItIsNot(t *testing.T) {
	t.Parallel()
	before, after := window(t, `fairlead_upstream_refusals_total{pool="api",reason="too_late"} 50`, pool)
	if got := names(diagnose.Compare(before, after)); got != "exhausted pool" {
		t.Errorf("refusals are %q", got)
	}
	after.Events = map[string][]diagnose.Event{"api": {
		{Seq: 1, Kind: "dial_failed", Endpoint: "http://a"}, {Seq: 2, Kind: "dial_failed", Endpoint: "http://a"}, {Seq: 3, Kind: "dial_failed", Endpoint: "http://a"},
	}}
	if got := names(diagnose.Compare(before, after)); got != "dead endpoint" {
		t.Errorf("refusals with failed dials are %q", got)
	}
	other := diagnose.Endpoint{Endpoint: "http://b", State: "ok"}
	after.Pools = []diagnose.Pool{{Name: "api", Endpoints: []diagnose.Endpoint{{Endpoint: "http://a", State: "draining"}, other}}}
	if got := names(diagnose.Compare(before, after)); got != "DNS change" {
		t.Errorf("the same when the endpoint is gone is %q", got)
	}
}

func TestWhoDoesNotReadIsToldFromWhoIsGone(t *testing.T) {
	t.Parallel()
	for want, path := range map[string]diagnose.Path{
		"slow reader":      {},
		"half-open client": {Unanswered: 2.5},
		"":                 {Unanswered: 0.5}, // which it is shows later
	} {
		before, after := window(t, "")
		s := diagnose.Session{Remote: "10.0.0.1:1", Lag: 500, Unsent: 16 << 10, Path: path}
		after.Connections.Sessions = []diagnose.Session{s}
		if got := names(diagnose.Compare(before, after)); got != want {
			t.Errorf("unanswered for %v s: %q, want %q", path.Unanswered, got, want)
		}
	}
}

func TestWhatIsLateBeforeItComesIsAHopAndWhatIsOldOrLateHereIsNot(t *testing.T) {
	t.Parallel()
	text := func(name string, fresh, late, history int) string {
		return fmt.Sprintf("%[1]s_bucket{le=\"0.5\"} %[2]d\n%[1]s_bucket{le=\"60\"} %[3]d\n%[1]s_bucket{le=\"+Inf\"} %[4]d\n%[1]s_count %[4]d\n",
			name, fresh, fresh+late, fresh+late+history)
	}
	const age, delay = "fairlead_event_age_seconds", "fairlead_delivery_delay_seconds"
	for what, c := range map[string]struct{ text, want string }{
		"late when they come": {text(age, 10, 90, 0) + text(delay, 100, 0, 0), "buffered hop"},
		"late here":           {text(age, 10, 90, 0) + text(delay, 10, 90, 0), ""},
		"history":             {text(age, 10, 0, 90) + text(delay, 100, 0, 0), ""},
		"fresh":               {text(age, 100, 5, 0) + text(delay, 105, 0, 0), ""},
	} {
		if got := names(diagnose.Compare(window(t, c.text))); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestAPageThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	token := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("Authorization")
		http.NotFound(w, r)
	}))
	defer server.Close()
	admin := diagnose.Admin{URL: server.URL + "/", Token: "secret"}
	if _, err := admin.Snapshot(t.Context()); err == nil || !strings.Contains(err.Error(), "/metrics: answered with 404") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	if token != "Bearer secret" {
		t.Errorf("the token came as %q", token)
	}
}
