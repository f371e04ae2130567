package daemon_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

func TestHTTP2WithoutTLSIsServedOnTheSamePortAndDrains(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "drain: {window: 0s, deadline: 1h}\nupstreams: {u: {endpoints: [\""+up.URL+"\"]}}\nroutes: [{path: /stream, upstream: u}]", daemon.Options{})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	get := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.http+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	answered := &events{t, get("/stream"), nil}
	answered.in = bufio.NewReader(answered.res.Body)
	up.lines <- "one"
	answered.want("one")
	if answered.res.ProtoMajor != 2 {
		t.Errorf("served as %s", answered.res.Proto)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.http+answered.res.Header.Get("Content-Location"), nil)
	res, err := transport.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %v, %v", res, err)
	}
	_ = res.Body.Close()
	if _, _, _, err := answered.next(); err == nil {
		t.Error("the cancelled stream goes on")
	}
	answer(t, http.MethodPost, p.http+"/topics/a", "two")
	topic := &events{t, get("/topics/a?after=earliest"), nil}
	topic.in = bufio.NewReader(topic.res.Body)
	topic.want("two")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestTheClientsAddressIsBelievedFromTrustedProxiesOnly(t *testing.T) {
	for config, want := range map[string]string{
		"trusted_proxies: []":                       `"client":"127.0.0.1"`,
		"trusted_proxies: [127.0.0.0/8]":            `"client":"10.0.0.2"`,
		"trusted_proxies: [127.0.0.1, 10.0.0.0/24]": `"client":"192.0.2.7"`,
	} {
		p := start(t, config, daemon.Options{})
		answer(t, http.MethodGet, p.http+"/x", "", "X-Forwarded-For", "198.51.100.9, 192.0.2.7, 10.0.0.2")
		eventually(t, "the log has "+want, func() bool { return strings.Contains(p.log.String(), want) })
	}
}

func TestTheLogIsTextOrJSONAndQuietAtItsLevel(t *testing.T) {
	p := start(t, "log: {format: text, level: warn}", daemon.Options{})
	answer(t, http.MethodGet, p.http+"/x", "")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if log := p.log.String(); log != "" {
		t.Errorf("at level warn: %s", log)
	}
	text := start(t, "log: {format: text}", daemon.Options{})
	answer(t, http.MethodGet, text.http+"/x", "")
	eventually(t, "a record is text", func() bool {
		return strings.Contains(text.log.String(), "msg=request method=GET path=/x route=none status=404")
	})
}
