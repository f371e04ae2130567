package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCurlTrustsTheDevelopmentAuthorityAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	authority := filepath.Join(home, "fairlead", "ca.pem") // as the log says
	var remembered string
	for range 2 {
		s := serveIn(t, []string{"XDG_CONFIG_HOME=" + home}, "--https", "127.0.0.1:0")
		root, err := os.ReadFile(authority)
		if err != nil {
			t.Fatal(err)
		}
		if remembered != "" && remembered != string(root) {
			t.Error("after a restart there is another authority")
		}
		remembered = string(root)
		s.publish("news", strings.Repeat("a text that is worth a coding, ", 100))
		want := strings.Join(curl(t, "-H", "Accept: application/json", s.http+"/topics/news").rest(), "\n")
		for _, version := range []string{"--http1.1", "--http2"} {
			args := []string{"--cacert", authority, version, "--compressed", "-H", "Accept: application/json", s.https + "/topics/news"}
			if got := strings.Join(curl(t, args...).rest(), "\n"); got != want {
				t.Errorf("with %s curl got %q, want %q", version, got, want)
			}
			code, headers := status(t, args...)
			if coding := header(headers, "Content-Encoding"); code != "200" || coding == "" {
				t.Errorf("with %s curl got %s, coded with %q", version, code, coding)
			}
			if offer := header(headers, "Alt-Svc"); !strings.HasPrefix(offer, "h3=") {
				t.Errorf("with %s the Alt-Svc is %q", version, offer)
			}
		}
		s.stop()
	}
}
