package daemon_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/daemon"
)

type transfer struct {
	Route, Kind, Remote string
	ToClient            flow `json:"to_client"`
	ToUpstream          flow `json:"to_upstream"`
}

type flow struct {
	Bytes    int64
	Buffered int64   `json:"buffered_bytes"`
	Waiting  float64 `json:"waiting_seconds"`
	Last     time.Time
}

// transfers returns what the page of connections says is forwarded.
func transfers(t *testing.T, p *program) []transfer {
	t.Helper()
	var page struct {
		Transfers []transfer `json:"transfers"`
	}
	_, text := answer(t, http.MethodGet, p.admin+"/connections", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	return page.Transfers
}

func TestARelayedWebSocketShowsItsBytes(t *testing.T) {
	p := start(t, socketUpstream(t)+"routes: [{path: /**, upstream: u}]", daemon.Options{})
	c := echo(t, p)
	// A frame of a server has a header of 2 bytes, that of a client a mask of 4 besides.
	eventually(t, "the bytes are counted", func() bool {
		list := transfers(t, p)
		return len(list) == 1 && list[0].ToClient.Bytes == 7 && list[0].ToUpstream.Bytes == 11
	})
	if x := transfers(t, p)[0]; x.Route != "/**" || x.Kind != "websocket" || x.Remote == "" || x.ToClient.Last.IsZero() || x.ToUpstream.Last.IsZero() {
		t.Errorf("%+v", x)
	}
	for _, want := range []string{
		`fairlead_relay_messages_total{side="client"} 1`, `fairlead_relay_message_bytes_total{side="upstream"} 5`, `fairlead_relay_deflated_messages_total{side="client"} 0`,
	} {
		eventually(t, want, func() bool {
			_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
			return strings.Contains(text, want+"\n")
		})
	}
	_ = c.CloseNow()
	eventually(t, "it is over", func() bool { return len(transfers(t, p)) == 0 })
}

func TestAForwardedBodyThatIsNotReadIsSeenWaiting(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for b := make([]byte, 32<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	defer up.Close()
	p := start(t, "upstreams: {u: {endpoints: ["+up.URL+"]}}\nroutes: [{path: /**, upstream: u}]", daemon.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.http+"/flood", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	eventually(t, "its client is slow", func() bool {
		list := transfers(t, p)
		return len(list) == 1 && list[0].Kind == "body" && list[0].ToClient.Waiting > 0.5 && list[0].ToClient.Buffered > 0 && list[0].ToClient.Bytes > 0
	})
	_ = res.Body.Close()
	eventually(t, "it is over", func() bool { return len(transfers(t, p)) == 0 })
}
