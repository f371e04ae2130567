package upstream_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestABadSourceIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                            "file:/",
		"consul+http://api":           "dns+http://, srv+http:// or file:/",
		"dns://api":                   "dns+http://",
		"DNS+http://api":              "dns+http://",
		"http://u:secret@h":           "remove it",
		"dns+":                        "after dns+ comes http://",
		"dns+api:80":                  "after dns+ comes http://",
		"dns+ftp://api":               "after dns+ comes http://",
		"dns+unix:/run/app.sock":      "after dns+ comes http://",
		"dns+dns+http://api":          "after dns+ comes http://",
		"dns+file:/etc/api":           "after dns+ comes http://",
		"dns+http://":                 "no host",
		"dns+http://.:80":             "no name",
		"dns+http://api:0":            "between 1 and 65535",
		"dns+http://u:secret@api":     "remove it",
		"dns+http://10.0.0.1:80/v1":   "is an address already; write http://10.0.0.1:80/v1",
		"dns+h2c://[::1]:80":          "is an address already; write h2c://[::1]:80",
		"srv+unix:/run/app.sock":      "after srv+ comes http://",
		"srv+_http._tcp.a.test":       "after srv+ comes http://",
		"srv+https://10.0.0.1":        "is an address already",
		"srv+https://_x._tcp.a.test:": "no port",
		"srv+https://_x._tcp.a:443":   "write srv+https://_x._tcp.a",
		"file:":                       "file:/path",
		"file:endpoints":              "file:/path",
		"file://host/endpoints":       "file:/path",
	} {
		e, r, err := upstream.ParseSource(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
		if e != (upstream.Endpoint{}) || r != nil {
			t.Errorf("%q: %v, %v beside the error %v", in, e, r, err)
		}
	}
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"http://a:1/b", "unix:/x", "dns+http://a:1/b", "dns+https://a", "dns+h2c://[fe80::1%25x]", "srv+http://_h._tcp.a/b", "srv+h2c://a:", "file:/x", "dns+unix:/x", "a+b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, r, err := upstream.ParseSource(s)
		set := 0
		for _, is := range []bool{err != nil, r != nil, e != upstream.Endpoint{}} {
			if is {
				set++
			}
		}
		plain, bad := upstream.ParseEndpoint(s)
		if set != 1 || e != plain || bad == nil && err != nil {
			t.Errorf("%q is %+v, %v, %v; as an endpoint %+v, %v", s, e, r, err, plain, bad)
		}
	})
}

// list returns a file with text, and what names it as a source.
func list(t *testing.T, text string) (name string, r upstream.Resolver) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "endpoints")
	write(t, name, text)
	_, r, err := upstream.ParseSource("file:" + name)
	if err != nil {
		t.Fatal(err)
	}
	return name, r
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// says fails t unless r resolves to want.
func says(t *testing.T, r upstream.Resolver, want ...string) {
	t.Helper()
	endpoints, valid, err := r.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range endpoints {
		got = append(got, e.String())
	}
	if !slices.Equal(got, want) || valid != time.Second {
		t.Errorf("%v for %v, want %v for 1s", got, valid, want)
	}
}

func TestAFileIsReadAgainHoweverItChanges(t *testing.T) {
	name, r := list(t, "# ours\n\nhttp://b:1/v1/\r\n  h2c://a:1\nhttp://b:1/v1\n# end")
	says(t, r, "h2c://a:1", "http://b:1/v1")

	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, "# ours\n\nhttp://b:1/v2/\r\n  h2c://a:1\nhttp://b:1/v2\n# end")
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	says(t, r, "h2c://a:1", "http://b:1/v2")

	write(t, name+".new", "unix:/run/c.sock\n")
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	says(t, r, "unix:/run/c.sock")
}

func TestABadFileIsAnErrorThatNamesTheLine(t *testing.T) {
	const name = "endpoints"
	for text, want := range map[string]string{
		"":                                      name + " names no endpoint; write one",
		"# none\n\n":                            name + " names no endpoint; write one",
		"http://a\n\nb\n":                       name + ":3: it must begin with http://",
		"http://a\nhttp://u:secret@b\n":         name + ":2: a user name or password",
		"http://a # ours\n":                     name + ":1: ",
		"dns+http://a\n":                        name + ":1: it must begin with http://",
		"http://a\nhttp://10.0.0.1":             name + ":2: the last line does not end; put a newline",
		strings.Repeat("# long\n", 200_000):     "is longer than 1048576 bytes",
		"http://a\n" + "#" + long(1<<20) + "\n": "is longer than 1048576 bytes",
		many(1025):                              "names 1025 endpoints, and a pool uses at most 1024",
		"http://a\n\x00\n":                      name + ":2: ",
		"http://a\nhttp://b\xff\nhttp://c:0\n":  name + ":",
		"http://a http://b\n":                   name + ":1: ",
		"- http://a\n":                          name + ":1: ",
		"\"http://a\"\n":                        name + ":1: ",
		"unix:/a\nunix:b\n":                     name + ":2: ",
		"file:/a\n":                             name + ":1: ",
		"http://a\r\nhttp://b:x\r\n":            name + ":2: ",
	} {
		_, r := list(t, text)
		endpoints, _, err := r.Resolve(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: %d endpoints, error %v, want one with %q", text, len(endpoints), err, want)
		}
	}

	gone, r := list(t, many(1024))
	if endpoints, _, err := r.Resolve(t.Context()); err != nil || len(endpoints) != upstream.MaxEndpoints {
		t.Errorf("%d endpoints, error %v, of %d lines", len(endpoints), err, upstream.MaxEndpoints)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), gone) {
		t.Errorf("error %v for a missing file", err)
	}
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v for a directory", err)
	}
}

// many returns a list of n endpoints.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("http://e" + strconv.Itoa(i) + "\n")
	}
	return b.String()
}
