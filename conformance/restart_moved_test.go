package conformance_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestAnAnswerOverHTTP3GoesOnWhenTheNewProcessListensElsewhere(t *testing.T) {
	t.Parallel()
	const size = 4 << 20 // more than is sent before the client is heard
	release := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush() // the header
		<-release
		_, _ = w.Write(make([]byte, size))
	}))
	t.Cleanup(api.Close)
	a := authority()
	config := a.https(t) + "drain: {window: 100ms, deadline: 20s}\nroutes: [{path: /, upstream: api}]\nupstreams: {api: {endpoints: [\"" + api.URL + "\"]}}\n"
	path := file(t, "fairlead.yaml", config)
	l := foundAs(t, exec.Command(binary, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", path))
	older := h3.get(t.Context(), t, h3.client(t, a.tls()), l.https+"/")

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	config = strings.Replace(config, "https: 127.0.0.1:0", "https: "+free.Addr().String(), 1)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.https = ""
	l.restart()
	newer := h3.get(t.Context(), t, h3.client(t, a.tls()), l.https+"/")
	close(release)
	for _, res := range []*http.Response{older, newer} {
		if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
