package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func frame(message ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// grpcAnswer answers with a message and trailers, or with trailers only.
func grpcAnswer(message []byte, status string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if message == nil {
			w.Header().Set("Grpc-Status", status)
			w.Header().Set("Grpc-Message", "why%0A")
			return
		}
		_, _ = w.Write(message)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	}
}

func TestTheAnswerToAGRPCCheckDecides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"SERVING":           {grpcAnswer(frame(8, 1), "0"), ""},
		"NOT_SERVING":       {grpcAnswer(frame(8, 2), "0"), "NOT_SERVING"},
		"UNKNOWN":           {grpcAnswer(frame(), "0"), "UNKNOWN"},
		"SERVICE_UNKNOWN":   {grpcAnswer(frame(8, 3), "0"), "SERVICE_UNKNOWN"},
		"another status":    {grpcAnswer(frame(8, 4), "0"), "serving status 4, which has no meaning"},
		"SERVING, but not":  {grpcAnswer(frame(8, 1), "13"), "grpc-status 13"},
		"UNIMPLEMENTED":     {grpcAnswer(nil, "12"), "the server has no health service (UNIMPLEMENTED); register grpc.health.v1.Health there, or check by tcp"},
		"NOT_FOUND":         {grpcAnswer(nil, "5"), `the server does not know the service "shop.Orders" (NOT_FOUND)`},
		"UNAVAILABLE":       {grpcAnswer(nil, "14"), "grpc-status 14"},
		"nothing":           {grpcAnswer([]byte{}, "0"), "the answer is no HealthCheckResponse"},
		"more than a frame": {grpcAnswer(make([]byte, maxHealthBody+1), "0"), "the answer has no grpc-status that could be read"},
		"another server":    {http.NotFound, "the answer is not gRPC: 404 Not Found, text/plain"},
	} {
		for _, scheme := range []string{"h2c", "https"} {
			synctest.Test(t, func(t *testing.T) {
				want := frame(append([]byte{0x0a, 11}, "shop.Orders"...)...)
				dial, cfg := httpServer(t, scheme == "https", true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if r.Method != http.MethodPost || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Proto != "HTTP/2.0" || r.Host != "example.com" ||
						r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || !bytes.Equal(body, want) || err != nil {
						t.Errorf("asked %s %s %s %v %q, %v", r.Method, r.URL, r.Proto, r.Header, body, err)
					}
					c.answer(w, r)
				}))
				expect := c.want
				if expect != "" {
					expect = "gRPC health check: " + expect
				}
				if why := once(t, Health{Kind: "grpc", Service: "shop.Orders"}, Endpoint{Scheme: scheme, Host: "example.com"}, cfg, dial); why != expect {
					t.Errorf("%s over %s: %q, want %q", name, scheme, why, expect)
				}
			})
		}
	}
}

func TestAGRPCCheckOfTheWholeServerNamesNoService(t *testing.T) {
	t.Parallel()
	if got := healthRequest(""); !bytes.Equal(got, frame()) {
		t.Errorf("% x", got)
	}
	if got := healthRequest(strings.Repeat("s", 200)); len(got) != 5+3+200 || !bytes.Equal(got[:8], []byte{0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01}) {
		t.Errorf("% x", got)
	}
}

func TestAGRPCCheckNeedsHTTP2(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		protocols []string
		want      string
	}{
		{nil, "gRPC health check: the server does not offer HTTP/2 (ALPN h2), which gRPC needs"},
		{[]string{"http/1.1"}, "TLS handshake: remote error: tls: no application protocol"},
	} {
		synctest.Test(t, func(t *testing.T) {
			lender := httptest.NewUnstartedServer(nil)
			_ = lender.Listener.Close()
			lender.Listener = memnet.New()
			lender.StartTLS()
			defer lender.Close()
			pool := x509.NewCertPool()
			pool.AddCert(lender.Certificate())

			ours, theirs := net.Pipe()
			server := tls.Server(theirs, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: c.protocols})
			var serving sync.WaitGroup
			serving.Go(func() { _, _ = io.Copy(io.Discard, server) })
			why := once(t, Health{Kind: "grpc"}, Endpoint{Scheme: "https", Host: "example.com"}, &tls.Config{RootCAs: pool},
				func(context.Context) (net.Conn, error) { return ours, nil })
			if why != c.want {
				t.Errorf("%q, want %q", why, c.want)
			}
			serving.Wait()
			_ = theirs.Close()
		})
	}
}

func TestAHealthResponseIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body []byte
		want int32 // -1: refused
	}{
		{frame(8, 1), 1},
		{frame(8, 2, 8, 1), 1}, // the last one holds
		{frame(0x10, 9, 0x1a, 2, 8, 2, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1), 1}, // among others of each kind
		{frame(0x0a, 1, 1), 0},  // a string in the place of the status
		{frame(8, 0x81, 0), 1},  // longer than it must be
		{frame(8), -1},          // cut off
		{frame(8, 0x80), -1},    // cut off
		{frame(0x12), -1},       // cut off
		{frame(0x12, 2, 0), -1}, // cut off
		{frame(0x25, 1), -1},    // cut off
		{frame(0x29, 1), -1},    // cut off
		{frame(0, 1), -1},       // field 0
		{frame(0x0b, 0x0c), -1}, // a group
		{frame(0x80), -1},       // no tag
		{nil, -1},               // no frame
		{frame(8, 1)[:6], -1},   // less than the frame says
		{append(frame(8, 1), frame(8, 1)...), -1},
		{append([]byte{1}, frame(8, 1)[1:]...), -1}, // compressed
		{frame(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), -1}, // a length of 2⁶⁴-1
	} {
		got, err := parseHealthResponse(c.body)
		if c.want < 0 && err == nil || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("% x: %d, %v, want %d", c.body, got, err, c.want)
		}
	}
}

func FuzzHealthResponse(f *testing.F) {
	f.Add(frame(8, 1))
	f.Add(frame())
	f.Add(frame(0x10, 9, 0x1a, 2, 8, 2, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1))
	f.Add(frame(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		status, err := parseHealthResponse(body)
		if (servingStatus(body) == nil) != (err == nil && status == 1) {
			t.Errorf("% x serves, with status %d, %v", body, status, err)
		}
		if err != nil || len(body)+2 > maxHealthBody {
			return
		}
		for _, c := range []struct {
			more []byte
			want int32
		}{{[]byte{0x78, 7}, status}, {[]byte{8, 5}, 5}} { // a field not known, and another status
			if got, err := parseHealthResponse(frame(append(bytes.Clone(body[5:]), c.more...)...)); got != c.want || err != nil {
				t.Errorf("% x and then % x: %d, %v, want %d", body, c.more, got, err, c.want)
			}
		}
	})
}
