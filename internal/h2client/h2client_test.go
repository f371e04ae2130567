package h2client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	_ "github.com/fairlead-edge/fairlead/daemon/xconnect"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestATunnelCarriesBytesBothWays(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "websocket" || r.URL.Path != "/path" {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		p := make([]byte, 4)
		_, _ = io.ReadFull(r.Body, p)
		_, _ = w.Write(p)
		_ = rc.Flush()
		_, _ = io.Copy(w, r.Body)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	c := h2client.New(t)
	stream, res := c.Connect(s.URL+"/path", h2client.WebSocket())
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	_, _ = io.WriteString(stream, "ping")
	p := make([]byte, 4)
	if _, err := io.ReadFull(stream, p); err != nil || string(p) != "ping" {
		t.Errorf("%q, %v", p, err)
	}
	_, _ = io.WriteString(stream, "rest")
	_ = stream.Close()
	if rest, err := io.ReadAll(stream); err != nil || string(rest) != "rest" {
		t.Errorf("%q, %v", rest, err)
	}
	if res, body := c.Refused(s.URL, h2client.WebSocket()); res.StatusCode != http.StatusTeapot || body != "no\n" {
		t.Errorf("%s %q", res.Status, body)
	}
}
