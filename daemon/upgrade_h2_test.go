package daemon_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/internal/h2client"
	"github.com/fairlead-edge/fairlead/websocket"
)

func TestWebSocketsReachAnUpstreamThatSpeaksHTTP2(t *testing.T) {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = fmt.Fprint(w, r.Proto)
			return
		}
		c, err := websocket.Accept(w, r, websocket.Config{})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read()
			if err != nil {
				return
			}
			_ = c.Write(kind, append([]byte(r.Proto+" "), message...))
		}
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	defer up.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, fmt.Sprintf("drain: {window: 0s}\nupstreams: {u: {endpoints: [%q], tls: {ca: %q}}}\nroutes: [{path: /**, upstream: u}]", up.URL, ca), daemon.Options{})
	if status, text := answer(t, http.MethodGet, p.http+"/plain", ""); status != http.StatusOK || text != "HTTP/2.0" {
		t.Errorf("%d %s", status, text)
	}
	first, res, err := websocket.Dial(t.Context(), strings.Replace(p.http, "http", "ws", 1)+"/chat", websocket.DialConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	defer first.CloseNow()
	for _, c := range []*websocket.Conn{first, openH2(t, h2client.New(t), p.http+"/chat")} {
		if err := c.Write(websocket.Text, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, message, err := c.Read(); err != nil || string(message) != "HTTP/1.1 hello" {
			t.Errorf("%s, %v", message, err)
		}
	}
	if status, text := answer(t, http.MethodGet, p.http+"/plain", ""); status != http.StatusOK || text != "HTTP/2.0" {
		t.Errorf("beside them: %d %s", status, text)
	}
	_, page := answer(t, http.MethodGet, p.admin+"/pools/u/connections", "")
	if strings.Count(page, `"state":"upgraded"`)+strings.Count(page, `"state": "upgraded"`) != 2 {
		t.Errorf("the pool shows %s", page)
	}
}
