package main_test

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

var (
	total     = regexp.MustCompile(`(?m)^Total cases: (\d+)$`)
	complaint = regexp.MustCompile(`(?m)^grpc: `) // of the program under test
)

// TestConnectconformanceFindsOnlyWhatIsKnown runs the suite in server mode: gRPC,
// gRPC-Web and Connect over HTTP/1.1, 2 and 3, with TLS and without, as each may be.
func TestConnectconformanceFindsOnlyWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		name, config string
		least        int // cases; about what there are
		args         []string
	}{
		{"served by listen", "all.yaml", 4400, []string{"serve"}},
		{"proxied to h2c", "all.yaml", 4400, []string{"front", "h2c"}},
		{"proxied to h2 over TLS", "all.yaml", 4400, []string{"front", "h2"}},
		{"proxied to HTTP 1.1", "h1.yaml", 3400, []string{"front", "h1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"--mode", "server", "--conf", "testdata/" + c.config, "--known-failing", "@testdata/none.txt", "--", command}
			args = append(args, c.args...)
			if c.args[0] == "front" {
				args = append(args, fairlead, tool(t, "referenceserver"))
			}
			began := time.Now()
			out, err := finish(t, 4*time.Minute, exec.Command(tool(t, "connectconformance"), args...))
			cases := 0
			if found := total.FindStringSubmatch(out); found != nil {
				cases, _ = strconv.Atoi(found[1])
			}
			if err != nil || cases < c.least || complaint.MatchString(out) {
				t.Errorf("%v after %d cases, want %d or more:\n%s", err, cases, c.least, lastOf(out))
			}
			t.Logf("%d cases in %.0f s", cases, time.Since(began).Seconds())
		})
	}
}

// lastOf is the end of what a suite said, where the summary is.
func lastOf(s string) string { return s[max(0, len(s)-16<<10):] }
