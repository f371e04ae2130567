package listen_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairlead-edge/fairlead/listen"
)

func TestEarlyHintsAndInfoPassOverEachProtocol(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		n := serve(t, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
			info, ok := listen.ConnInfoOf(r.Context())
			if !ok || info.Since.IsZero() || info.Requests != 1 {
				t.Errorf("%s: %+v, %v", protocol, info, ok)
			}
			w.Header().Set("Link", "</style.css>; rel=preload; as=style")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.Copy(w, r.Body)
		})
		tr := &http.Transport{DialContext: n.Dial, Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(protocol == "HTTP/1.1")
		tr.Protocols.SetUnencryptedHTTP2(protocol == "HTTP/2.0")
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, strconv.Itoa(code)+" "+h.Get("Link"))
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any.test/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.Proto != protocol || string(body) != "body" || err != nil || resp.ContentLength != 4 {
			t.Errorf("%s: %q (%d), %v", resp.Proto, body, resp.ContentLength, err)
		}
		if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload; as=style" {
			t.Errorf("%s: %q", protocol, hints)
		}
	}
}

func TestALargeHeaderIsRefused(t *testing.T) {
	simulated(t, func(t *testing.T) {
		n := serve(t, listen.Config{Limits: listen.Limits{HeaderBytes: 8 << 10}}, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
		large := strings.Repeat("a", 9<<10)

		one := dial1(t, n)
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = io.WriteString(one, "GET / HTTP/1.1\r\nHost: a\r\nCookie: "+large+large+"\r\n\r\n") })
		if resp, _ := one.answer("GET"); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("HTTP/1.1: %s", resp.Status)
		}
		_ = one.Close()
		sending.Wait()

		two := dial2(t, n)
		two.ask("GET", "/", false, "cookie", large[:5<<10], "cookie", large[:5<<10])
		if f, ok := two.frame().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "431" {
			t.Errorf("HTTP/2: %v", f)
		}
	})
}

func TestAFileAndAFlushPassAllWriters(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.txt")
	want := strings.Repeat("all of the file\n", 10_000)
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, listen.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok {
			t.Errorf("%s: nothing can be flushed", r.Proto)
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		http.ServeFile(w, r, file)
		w.(http.Flusher).Flush()
	})
	for _, second := range []bool{false, true} {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetHTTP1(!second)
		tr.Protocols.SetUnencryptedHTTP2(second)
		for _, body := range []io.Reader{nil, strings.NewReader("a body")} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/", body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(got) != want || err != nil || (resp.ProtoMajor == 2) != second {
				t.Errorf("%s: %d bytes, %v", resp.Proto, len(got), err)
			}
		}
		tr.CloseIdleConnections()
	}
}
