package compress_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

func TestAConnectionIsGivenAwayForAResponseThatIsNotCoded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header []string
		accept string
		given  bool
		vary   string
	}{
		"events, accepted":           {[]string{"Content-Type", "text/event-stream"}, "gzip", false, ""},
		"events, not accepted":       {[]string{"Content-Type", "text/event-stream", "Vary", "Origin"}, "deflate", true, "Origin, Accept-Encoding"},
		"events, identity preferred": {[]string{"Content-Type", "text/event-stream"}, "identity, gzip;q=0.5", true, "Accept-Encoding"},
		"a picture":                  {[]string{"Content-Type", "image/png"}, "gzip", true, ""},
		"coded already":              {[]string{"Content-Type", "text/event-stream", "Content-Encoding", "br"}, "gzip", true, ""},
		"no type":                    {nil, "gzip", true, ""},
		"perhaps too small":          {[]string{"Content-Type", "text/plain"}, "gzip", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcomes := make(chan compress.Outcome, 1)
			s := httptest.NewServer(compress.New(compress.Config{Observe: func(o compress.Outcome) { outcomes <- o }}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(c.header); i += 2 {
					w.Header().Set(c.header[i], c.header[i+1])
				}
				was := w.Header().Clone()
				conn, _, err := http.NewResponseController(w).Hijack()
				if (err == nil) != c.given || err != nil && !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("taking the connection: %v", err)
				}
				if err != nil {
					if len(w.Header()) != len(was) || w.Header().Get("Vary") != was.Get("Vary") {
						t.Errorf("the header is %v, and was %v", w.Header(), was)
					}
					_, _ = io.WriteString(w, text(5000))
					return
				}
				if got := w.Header().Get("Vary"); got != c.vary {
					t.Errorf("Vary is %q, want %q", got, c.vary)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
				_ = conn.Close()
			})))
			t.Cleanup(s.Close)
			res := get(t, s.URL, c.accept)
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			want, coding := "mine", ""
			if !c.given {
				want, coding = text(5000), "gzip"
			}
			if got := decode(t, coding, body); got != want || res.Header.Get("Content-Encoding") != coding {
				t.Errorf("%.20q, coded %q", got, res.Header.Get("Content-Encoding"))
			}
			if strings.Contains(c.vary, "Accept-Encoding") {
				if o := <-outcomes; o.Reason != "not accepted" {
					t.Errorf("%+v", o)
				}
			}
		})
	}
}

func TestAnEventStreamThatHasNoRoomForItsCoderIsGivenAway(t *testing.T) {
	t.Parallel()
	outcomes := make(chan compress.Outcome, 1)
	cfg := compress.Config{Budget: compress.NewBudget(1000), Observe: func(o compress.Outcome) { outcomes <- o }}
	s := httptest.NewServer(compress.New(cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("taking the connection: %v, %v", err, w.Header())
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
		_ = conn.Close()
	})))
	t.Cleanup(s.Close)
	res := get(t, s.URL, "gzip")
	if body, err := io.ReadAll(res.Body); string(body) != "mine" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	if o := <-outcomes; o.Reason != "no memory" || cfg.Budget.Refused() != 1 || cfg.Budget.Used() != 0 {
		t.Errorf("%+v, %d refused, %d used", o, cfg.Budget.Refused(), cfg.Budget.Used())
	}
}

func TestAConnectionThatCannotBeGivenAwayChangesNothing(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder() // which is no connection
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) || w.Header().Get("Vary") != "" {
			t.Errorf("%v, with the header %v", err, w.Header())
		}
		_, _ = io.WriteString(w, "data: 1\n\n")
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("after the response began: %v", err)
		}
	})).ServeHTTP(w, r)
	if w.Body.String() != "data: 1\n\n" || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("%q with the header %v", w.Body, w.Header())
	}
}
