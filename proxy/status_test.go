package proxy_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAStatusOfHTTP2ThatIsNoneIsABrokenAnswer(t *testing.T) {
	t.Parallel()
	s := frontOf(t, func(b *backend, id uint32, path string) {
		b.send(id, true, ":status "+strings.TrimPrefix(path, "/"), ofGRPC)
	})
	for _, status := range []string{"0", "99", "+50", "-5", "1000", "2147483648"} {
		res, body := exchange(t, s, "GET /"+status+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if res.StatusCode != http.StatusBadGateway || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, `"unavailable"`) {
			t.Errorf("%s: %d %v %s", status, res.StatusCode, res.Header, body)
		}
		call, _ := exchange(t, s, "POST /"+status+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
		if call.StatusCode != http.StatusOK || call.Header.Get("Grpc-Status") != "14" {
			t.Errorf("%s: a call: %d %v", status, call.StatusCode, call.Header)
		}
	}
}

func TestAnInterim101OfHTTP2IsNotPassedOn(t *testing.T) {
	t.Parallel()
	s := frontOf(t, func(b *backend, id uint32, _ string) {
		b.send(id, false, ":status 101", "upgrade websocket")
		b.send(id, false, answered, "content-length 2")
		_ = b.WriteData(id, true, []byte("ok"))
	})
	res, body := exchange(t, s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res.StatusCode != http.StatusOK || body != "ok" || res.Header.Get("Upgrade") != "" {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
}
