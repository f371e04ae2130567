package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// firefox opens a page in Firefox, with a profile of its own that trusts
// authority. Further preferences are given as JavaScript, a pair each.
func firefox(t *testing.T, url string, preferences ...string) *process {
	t.Helper()
	browser := tool(t, "firefox-esr", "firefox-esr", "firefox")
	home := t.TempDir()
	profile := filepath.Join(home, "profile")
	if err := os.Mkdir(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	certutil, store := tool(t, "libnss3-tools", "certutil"), "sql:"+profile
	for _, args := range [][]string{
		{"-N", "--empty-password"},
		{"-A", "-n", "tests", "-t", "C,,", "-i", file(t, "root.pem", authority().root)},
	} {
		p := start(t, nil, certutil, append(args, "-d", store)...)
		if p.rest(); p.err != nil {
			t.Fatalf("certutil: %v\n%s", p.err, p.errors())
		}
	}
	var user strings.Builder
	for _, pair := range append([]string{
		// Firefox itself is to ask nobody for anything.
		`"app.update.disabledForTesting", true`, `"browser.aboutwelcome.enabled", false`, `"browser.safebrowsing.malware.enabled", false`,
		`"browser.safebrowsing.phishing.enabled", false`, `"browser.shell.checkDefaultBrowser", false`,
		`"browser.startup.homepage_override.mstone", "ignore"`, `"datareporting.policy.dataSubmissionEnabled", false`,
		`"dom.push.connection.enabled", false`, `"extensions.getAddons.cache.enabled", false`, `"extensions.update.enabled", false`,
		`"network.captive-portal-service.enabled", false`, `"network.connectivity-service.enabled", false`,
		`"services.settings.server", "data:,"`, `"toolkit.telemetry.enabled", false`, `"app.normandy.enabled", false`,
		// The server listens on 127.0.0.1.
		`"network.dns.disableIPv6", true`,
	}, preferences...) {
		fmt.Fprintf(&user, "user_pref(%s);\n", pair)
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(user.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, []string{"HOME=" + home, "MOZ_CRASHREPORTER_DISABLE=1"}, browser, "--headless", "--no-remote", "--profile", profile, url)
}

func TestFirefoxUsesTheWholeEdgeOnEachVersionOfHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		protocol         string
		preferences      func(port int) []string
		streams, sockets string // as the access log has them
	}{
		{"http/1.1", func(int) []string {
			return []string{`"network.http.http2.enabled", false`, `"network.http.http3.enable", false`}
		}, "GET HTTP/1.1", "GET HTTP/1.1"},
		{"h2", func(int) []string {
			return []string{`"network.http.http3.enable", false`}
		}, "GET HTTP/2.0", "CONNECT HTTP/2.0"},
		{"h3", func(port int) []string {
			return []string{
				`"network.http.http3.disable_when_third_party_roots_found", false`,
				fmt.Sprintf(`"network.http.http3.alt-svc-mapping-for-testing", "localhost;h3=:%d"`, port),
			}
		}, "GET HTTP/3.0", "CONNECT HTTP/2.0"},
	} {
		t.Run(c.protocol, func(t *testing.T) {
			t.Parallel()
			v := visitedEdge(t, edgePage, "")
			browser := firefox(t, v.url(), c.preferences(port(t, v.server.https))...)
			v.expectAll(c.protocol)
			browser.stop()
			v.expectLogged(c.streams, c.sockets)
		})
	}
}
