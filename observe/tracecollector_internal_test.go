package observe

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// The environment's proxy is read once in a process, and never used for loopback; so
// this one is set.
func TestTheWordsOfAProxyAreNotTold(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 407 s3cret\r\n\r\n")
		_ = conn.Close()
	}))
	defer s.Close()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector(nil)
	defer c.CloseIdleConnections()
	c.Proxy = http.ProxyURL(to)
	res, err := c.client().Get("https://collector.example/v1/traces") //nolint:noctx // it has a timeout
	if err == nil {
		_ = res.Body.Close()
		t.Fatal("the proxy let it through")
	}
	if why := c.why(err).Error(); why != "proxyconnect tcp: the proxy answered 407" && why != "the proxy answered 407" {
		t.Error(why)
	}
}
