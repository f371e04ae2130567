package daemon_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
)

// says is an upstream that answers every request with the same bytes.
func says(t *testing.T, answer string) (url string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c)) //nolint:bodyclose // it has none
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-served })
	return "http://" + l.Addr().String()
}

func TestTheLogRepeatsNothingThatAnUpstreamSent(t *testing.T) {
	for name, sent := range map[string]string{
		"status line": "HTTP/1.1 s3cret\r\n\r\n",
		"no HTTP":     "s3cret\r\n\r\n",
		"header":      "HTTP/1.1 200 OK\r\nX s3cret\r\n\r\n",
		"length":      "HTTP/1.1 200 OK\r\nContent-Length: s3cret\r\n\r\n",
		"encoding":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: s3cret\r\n\r\n",
		"chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ns3cret\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "", daemon.Options{Upstreams: []string{says(t, sent)}})
			if res, err := http.Get(p.http + "/x"); err == nil { //nolint:noctx // the test's end ends it
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			eventually(t, "it is logged", func() bool { return strings.Contains(p.log.String(), `"msg":"request"`) })
			if log := p.log.String(); strings.Contains(log, "s3cret") || !strings.Contains(log, `"error":"`) {
				t.Error(log)
			}
		})
	}
}

func TestWhatTheStandardLoggerSaysIsLoggedWithoutWhatItQuotes(t *testing.T) {
	before, free := log.Writer(), "127.0.0.1:0"
	p := startIn(t, daemon.Options{
		HTTP: &free, Admin: &free, Upstreams: []string{says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\noks3cret")},
	}, daemon.Process{Standard: log.Default()})
	answer(t, http.MethodGet, p.http+"/x", "")
	eventually(t, "it is logged", func() bool { return strings.Contains(p.log.String(), `"msg":"Unsolicited response`) })
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if text := p.log.String(); strings.Contains(text, "s3cret") || log.Writer() != before {
		t.Error(text)
	}
}

func TestTheIDOfAStreamIsNotLoggedHoweverItsPathIsMisspelt(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	for _, spelled := range []string{"/.Well-Known/Fairlead/streams/s3cret", `/\.well-known\fairlead\streams\s3cret`, "/.WELL-KNOWN/fairlead/s3cret"} {
		answer(t, http.MethodGet, p.http+spelled, "")
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if text := p.log.String(); strings.Contains(text, "s3cret") || strings.Count(text, `"msg":"request"`) != 3 {
		t.Error(text)
	}
}

func TestTheLogSaysWhyAnUpstreamCannotBeReached(t *testing.T) {
	p := start(t, "", daemon.Options{Upstreams: []string{"http://127.0.0.1:1"}})
	answer(t, http.MethodGet, p.http+"/x", "")
	eventually(t, "the cause is logged", func() bool { return strings.Contains(p.log.String(), "connect: connection refused") })
}

func TestNoSpellingOfAStreamsPathReachesTheUpstreamOrTheLog(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}, Topics: true})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	path := s.res.Header.Get("Content-Location")
	at := strings.LastIndexByte(path, '/')
	id := path[at+1:]
	if len(id) < 10 {
		t.Fatalf("Content-Location %q", path)
	}
	for _, spelled := range []string{
		"/.well-known/fairlead/streams" + id,
		"//.well-known/fairlead/streams/" + id,
		"/./.well-known/fairlead/streams/" + id,
		"/x/../.well-known/fairlead/streams/" + id,
		"/topics/../.well-known/fairlead/streams/" + id,
		"/.well-known//fairlead/streams/" + id,
		"/.well-known/fairlead/" + id,
		"/.well-known/f%61irlead/streams/" + id,
		"/.well-known%2Ffairlead/streams%2f" + id,
		"/%2e/.well-known/fairlead/streams/" + id,
	} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.http, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", spelled)
		text, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 404 ") || strings.Contains(string(text), "hello from") {
			t.Errorf("%s: %s %v", spelled, text, err)
		}
		_ = c.Close()
	}
	again := stream(t, p.http+path)
	again.want("one")
	close(up.lines)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.log.String(), id) {
		t.Error("the log has the stream's id")
	}
}

func TestCORSOpensCapturedStreamsAlsoAfterAReload(t *testing.T) {
	up := newUpstream(t)
	rest := "upstreams: {u: {endpoints: [\"" + up.URL + "\"]}}\nroutes: [{path: /**, upstream: u}]"
	file := write(t, rest)
	p := start(t, "", daemon.Options{Config: file})
	s := stream(t, p.http+"/stream")
	up.lines <- "one"
	s.want("one")
	url, origin := p.http+s.res.Header.Get("Content-Location"), "https://app.example"
	if res := request(t, http.MethodHead, url, "", "Origin", origin); res.StatusCode != http.StatusForbidden {
		t.Errorf("before: %s", res.Status)
	}
	reload(t, p, file, "cors: [\""+origin+"\"]\n"+rest, readAgain)
	stream(t, url, "Origin", origin).want("one")
	if res := request(t, http.MethodHead, url, "", "Origin", "https://other.example"); res.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %s", res.Status)
	}
	close(up.lines)
}

func TestATargetOfAnotherSchemeIsNotForwarded(t *testing.T) {
	up := newUpstream(t)
	p := start(t, "", daemon.Options{Upstreams: []string{up.URL}})
	host := strings.TrimPrefix(p.http, "http://")
	for scheme, want := range map[string]string{"http": "200", "https": "200", "ftp": "421", "ws": "421"} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET %s://%s/x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", scheme, host, host)
		if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 "+want) {
			t.Errorf("%s: %s %v", scheme, text, err)
		}
		_ = c.Close()
	}
}
