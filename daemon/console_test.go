package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestTheConsoleIsAPageForBrowsersAndItsFeedIsGuarded(t *testing.T) {
	p := start(t, "admin_token: secret\ntopics: [{match: \"**\"}]", daemon.Options{})
	const html = "text/html,application/xhtml+xml"
	for _, c := range []struct {
		path, accept, token string
		status              int
		has                 string
	}{
		{"/", html, "", http.StatusOK, "<title>Fairlead"},
		{"/", "*/*", "", http.StatusUnauthorized, "admin_token"},
		{"/", "*/*", "secret", http.StatusOK, "POST /drain"},
		{"/console/app.js", "*/*", "", http.StatusOK, "import"},
		{"/console/feed", "text/event-stream", "", http.StatusUnauthorized, "admin_token"},
		{"/console/none", "*/*", "", http.StatusNotFound, ""},
	} {
		headers := []string{"Accept", c.accept}
		if c.token != "" {
			headers = append(headers, "Authorization", "Bearer "+c.token)
		}
		if status, text := answer(t, http.MethodGet, p.admin+c.path, "", headers...); status != c.status || !strings.Contains(text, c.has) {
			t.Errorf("%+v: %d %.200s", c, status, text)
		}
	}
	feed := stream(t, p.admin+"/console/feed", "Authorization", "Bearer secret")
	if _, _, data, err := feed.next(); err != nil || !strings.Contains(data, `"sessions_total":0`) || strings.Contains(data, "\n") {
		t.Errorf("%v: %.300s", err, data)
	}
	_ = feed.res.Body.Close()
}

func TestAShareOfTheReadersIsSentAway(t *testing.T) {
	p := start(t, "topics: [{match: \"**\"}]", daemon.Options{})
	for _, name := range []string{"a/1", "b"} {
		if status, text := answer(t, http.MethodPost, p.http+"/topics/"+name, "x", "Content-Type", "text/plain"); status != http.StatusCreated {
			t.Fatalf("%d %s", status, text)
		}
	}
	one, other := stream(t, p.http+"/topics/a/1?after=earliest"), stream(t, p.http+"/topics/b?after=earliest")
	one.want("x")
	other.want("x")
	for query, want := range map[string]string{
		"": "share", "?share=0": "share", "?share=2": "share", "?share=x": "share", "?share=1&topic=a//b": "pattern",
		"?share=1&topic=none": `"sent": 0`, "?share=1&transport=grpc": `"sent": 0`,
	} {
		if _, text := answer(t, http.MethodPost, p.admin+"/shed"+query, ""); !strings.Contains(text, want) {
			t.Errorf("%s: %s", query, text)
		}
	}
	if _, text := answer(t, http.MethodPost, p.admin+"/shed?share=1&topic=a/*", ""); !strings.Contains(text, `"sent": 1`) {
		t.Error(text)
	}
	if _, kind, _, err := one.next(); err != nil || kind != "fairlead.draining" {
		t.Errorf("it is told %q, %v", kind, err)
	}
	if status, text := answer(t, http.MethodPost, p.http+"/topics/b", "y", "Content-Type", "text/plain"); status != http.StatusCreated {
		t.Fatalf("%d %s", status, text)
	}
	other.want("y")
}
