package conformance_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// known are the cases of h2spec that fail, and why that is right or harmless.
// All are net/http's own doing. The list is held to: a case that begins to pass
// fails the test, too.
var known = map[string]string{
	"http2/6.5.3/1":   "a SETTINGS frame that names a parameter twice ends the connection: no client sends one, and it costs an attacker the connection",
	"http2/8.1.2.2/1": "a connection-specific field is answered with 400, not a reset: the request is refused either way (RFC 9113, 8.1.1 allows an answer first)",
	"http2/8.1.2.2/2": "a TE field other than trailers is answered with 400, likewise",
}

// knownCleartext are those that only fail without TLS.
var knownCleartext = map[string]string{
	"http2/3.5/2": "what is not the preface of HTTP/2 is a request of HTTP/1.1 on this port, and is answered with 400 in its own protocol",
}

func TestH2specFindsOnlyWhatIsKnown(t *testing.T) {
	t.Parallel()
	// An answer that waited for the whole request cannot overtake what is wrong
	// with its body.
	s := edge(t, proxied(upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprint(w, strings.Repeat("an answer of some length ", 40))
		}
	}))))
	for _, c := range []struct {
		name, base string
		args       []string
		known      []map[string]string
	}{
		{"h2", s.https, []string{"--tls", "--insecure"}, []map[string]string{known}},
		{"h2c", s.http, nil, []map[string]string{known, knownCleartext}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expected := map[string]string{}
			for _, k := range c.known {
				maps.Copy(expected, k)
			}
			failed, total := h2spec(t, append(c.args, "--port", fmt.Sprint(port(t, c.base)))...)
			if total < 140 {
				t.Errorf("h2spec ran %d cases, want all of its 145 or so", total)
			}
			for id, why := range failed {
				if expected[id] == "" {
					t.Errorf("%s fails: %s", id, why)
				}
			}
			for id, why := range expected {
				if failed[id] == "" {
					t.Errorf("%s passes now; take it off the list, where it says: %s", id, why)
				}
			}
		})
	}
}

// h2spec runs the suite and returns the cases that failed and what was expected
// of them, by h2spec's own names, with how many cases there were.
func h2spec(t *testing.T, args ...string) (failed map[string]string, total int) {
	t.Helper()
	program, err := filepath.Abs("../.tools/h2spec")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("h2spec is not installed (%v): run ci/tools", err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	// A case that waits for nothing to come waits for the timeout.
	run := start(t, nil, program, append(args, "--timeout", "5", "--junit-report", report)...)
	output := run.rest()
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec wrote no report: %v\n%s", err, strings.Join(output, "\n"))
	}
	var suites struct {
		Suites []struct {
			Cases []struct {
				Package   string   `xml:"package,attr"`
				Title     string   `xml:"classname,attr"`
				Expecting []string `xml:"failure"`
				Errors    []string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &suites); err != nil {
		t.Fatal(err)
	}
	failed = map[string]string{}
	for _, s := range suites.Suites {
		for i, c := range s.Cases {
			total++
			if why := slices.Concat(c.Expecting, c.Errors); why != nil {
				failed[fmt.Sprintf("%s/%d", c.Package, i+1)] = c.Title + ": " + strings.Join(strings.Fields(strings.Join(why, " ")), " ")
			}
		}
	}
	return failed, total
}
