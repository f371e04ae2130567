package upstream_test

import (
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestABadEndpointIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                       "must begin with http://",
		"127.0.0.1:9000":         "http://host:port",
		"localhost:9000":         "must begin with http://",
		"ftp://h":                "must begin with http://",
		"http://":                "no host",
		"http://:80":             "no host",
		"http://h:":              "no port",
		"http://h:0":             "between 1 and 65535",
		"http://h:70000":         "between 1 and 65535",
		"http://u:secret@h":      "remove it",
		"http://h/?q=1":          "remove it",
		"http://h/#f":            "remove it",
		"unix:relative":          "unix:/path",
		"unix://host/path":       "unix:/path",
		"unix:/" + long(200):     "at most 107",
		"http://u:secret@h:bad/": "",
	} {
		_, err := upstream.ParseEndpoint(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
	}
	if _, err := upstream.New(upstream.Config{}); err == nil {
		t.Error("a pool without endpoints is no error")
	}
	if _, err := upstream.New(upstream.Config{Endpoints: []string{"http://a", "nope"}}); err == nil {
		t.Error("a pool with a bad endpoint is no error")
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:9000", "https://[::1]:8443/base/", "h2c://h:1/%2F", "unix:/run/app.sock", "unix:///x", "http://h/a b", "http://%41/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := upstream.ParseEndpoint(s)
		if err != nil {
			return
		}
		again, err := upstream.ParseEndpoint(e.String())
		if err != nil || again != e {
			t.Errorf("%q is %+v, which reads back as %+v, %v", s, e, again, err)
		}
	})
}
