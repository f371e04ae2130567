package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestTheConnectionsOfClientsAreSeen(t *testing.T) {
	p := start(t, "topics: [{match: \"**\"}]\ncompress: {prefer: off}", daemon.Options{})
	transport := &http.Transport{DisableCompression: true}
	client := &http.Client{Transport: transport}
	for range 2 {
		res, err := client.Post(p.http+"/topics/a", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // or the connection is not used again
		_ = res.Body.Close()
	}
	eventually(t, "the page shows it", func() bool {
		page := connections(t, p)
		if page.AllClients != len(page.Clients) {
			t.Fatalf("%d of %d", len(page.Clients), page.AllClients)
		}
		for _, c := range page.Clients {
			if c["listener"] == "http" {
				path, _ := c["path"].(map[string]any)
				return c["protocol"] == "h1" && c["requests"] == 2.0 && c["active"] == 0.0 && c["state"] == "idle" && c["received_bytes"].(float64) > 100 && c["sent_bytes"].(float64) > 100 && path["rtt_seconds"] != 0.0
			}
		}
		return false
	})
	s := stream(t, p.http+"/topics/a?after=earliest")
	s.want("x")
	eventually(t, "a connection that the engine serves is a session's", func() bool {
		page := connections(t, p)
		return len(page.Sessions) == 1 && page.Sessions[0]["engine"] == true && page.Sessions[0]["path"] != nil
	})
	_ = s.res.Body.Close()
	transport.CloseIdleConnections()
	for _, want := range []string{
		`fairlead_connections_closed_total{listener="http",reason="client_closed"} 2`,
		`fairlead_connection_requests_total{listener="http",protocol="h1",reused="false"} 2`,
		`fairlead_connection_requests_total{listener="http",protocol="h1",reused="true"} 1`,
		`fairlead_connection_request_gap_seconds_count{listener="http"} 1`,
		`fairlead_connection_first_byte_seconds_count{listener="http"} 2`,
		`fairlead_connection_duration_seconds_count{listener="http",protocol="h1"} 2`,
		`fairlead_connection_requests_sum{listener="http",protocol="h1"} 2`,
		`fairlead_connection_idle_timeout_suggested_seconds{listener="http",share="0.95"} 0`,
	} {
		eventually(t, want, func() bool {
			_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
			return strings.Contains(text, want+"\n")
		})
	}
}

func TestWithoutMetricsThereIsNoPageOfThem(t *testing.T) {
	p := start(t, "topics: [{match: \"**\"}]\nmetrics: false", daemon.Options{})
	if status, text := answer(t, http.MethodPost, p.http+"/topics/a", "x", "Content-Type", "text/plain"); status != http.StatusCreated {
		t.Errorf("%d %s", status, text)
	}
	stream(t, p.http+"/topics/a?after=earliest").want("x")
	if status, text := answer(t, http.MethodGet, p.admin+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("%d %.100s", status, text)
	}
	for url, has := range map[string]bool{p.admin: false, start(t, "", daemon.Options{}).admin: true} {
		if _, text := answer(t, http.MethodGet, url+"/", ""); strings.Contains(text, "/metrics") != has || !strings.Contains(text, "\nGET  /connections") {
			t.Errorf("the index: %s", text)
		}
	}
}
