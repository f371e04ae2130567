package compress_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/compress"
)

func TestTheFirstStatusAndItsHeaderCount(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 5000} {
		s := httptest.NewServer(compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusBadGateway)
			w.Header().Set("X-Late", "1")
			w.Header().Set("Content-Type", "image/png")
			_, _ = io.WriteString(w, text(size)[:5])
			w.Header().Set("X-Sum", "5")
			w.Header().Set(http.TrailerPrefix+"X-More", "6")
			_, _ = io.WriteString(w, text(size)[5:])
		})))
		t.Cleanup(s.Close)
		res := get(t, s.URL, "gzip")
		body, err := io.ReadAll(res.Body)
		if err != nil || decode(t, res.Header.Get("Content-Encoding"), body) != text(size) {
			t.Errorf("%d bytes: the body is another, %v", size, err)
		}
		if res.StatusCode != http.StatusAccepted || res.Header.Get("X-Late")+res.Header.Get("X-Sum") != "" || res.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%d bytes: %d with the header %v", size, res.StatusCode, res.Header)
		}
		if res.Trailer.Get("X-Sum") != "5" || res.Trailer.Get("X-More") != "6" {
			t.Errorf("%d bytes: the trailer is %v", size, res.Trailer)
		}
	}
}

func TestHeadOfAHandlerThatWritesIsThatOfGet(t *testing.T) {
	for _, size := range []int{0, 100, 1500, 50_000} {
		for _, length := range []bool{false, true} {
			h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Etag", `"abc"`)
				if length {
					w.Header().Set("Content-Length", strconv.Itoa(size))
				}
				_, _ = io.WriteString(w, text(size))
			}))
			onEach(t, h, func(t *testing.T, url string, c *http.Client) {
				head, get := fetched(t, c, http.MethodHead, url, "gzip"), fetched(t, c, http.MethodGet, url, "gzip")
				for _, name := range []string{"Content-Encoding", "Content-Type", "Vary", "Content-Length"} {
					got, want := head.Header.Get(name), get.Header.Get(name)
					if name == "Content-Length" && got == "" && (length || size == 0) {
						continue // no coder runs for a HEAD, and the server leaves out 0
					}
					if got != want {
						t.Errorf("%d bytes, length told %v: %s is %q for HEAD and %q for GET", size, length, name, got, want)
					}
				}
				if want := get.Header.Get("Etag"); size > 0 && head.Header.Get("Etag") != want {
					t.Errorf("%d bytes: the ETag is %s, want %s", size, head.Header.Get("Etag"), want)
				}
			})
		}
	}
}

func TestHeadOfABodyThatNobodyKnowsHasAWeakETag(t *testing.T) {
	t.Parallel()
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Etag", `"abc"`)
	})
	header := answer(compress.New(compress.Config{}, h), http.MethodHead, "Accept-Encoding", "gzip").Header
	if header.Get("Etag") != `W/"abc"` || header.Get("Vary") != "Accept-Encoding" || header.Get("Content-Encoding") != "" {
		t.Errorf("the header is %v", header)
	}
}

func TestABodyShorterThanItsLengthHasNoEnd(t *testing.T) {
	for _, coding := range codings {
		onEach(t, compress.New(compress.Config{}, says("text/plain", text(4000), "Content-Length", "5000")), func(t *testing.T, url string, c *http.Client) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", coding)
			res, err := c.Do(req)
			if err != nil {
				return // there was not even a header
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("%q: %d bytes came to a clean end", coding, len(body))
			}
		})
	}
}

func TestABodyLongerThanItsLengthIsAnErrorOfTheHandler(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "4000")
			if _, err := io.WriteString(w, text(4000)); err != nil {
				t.Errorf("%s: all of the body is %v", method, err)
			}
			if _, err := io.WriteString(w, "more"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("%s: more of the body is %v, want %v", method, err, http.ErrContentLength)
			}
		}))
		body, err := io.ReadAll(answer(h, method, "Accept-Encoding", "br").Body)
		if err != nil || method == http.MethodGet && decode(t, "br", body) != text(4000) {
			t.Errorf("%s: the body is another, %v", method, err)
		}
	}
}

func TestWhoWritesAfterTheHandlerReachesNobody(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"nothing": "", "small": "small", "coded": text(5000)} {
		var left http.ResponseWriter
		h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			if body != "" {
				_, _ = io.WriteString(w, body)
			}
			left = w
		}))
		_ = answer(h, http.MethodGet, "Accept-Encoding", "zstd")
		was := left
		_ = answer(h, http.MethodGet, "Accept-Encoding", "zstd")
		if was == left {
			t.Errorf("%s: two responses have the same writer", name)
		}
		if name == "small" {
			continue // it was not coded: the server knows what to say
		}
		if n, err := was.Write([]byte("late")); n != 0 || err == nil {
			t.Errorf("%s: a late write is %d, %v", name, n, err)
		}
		if err := http.NewResponseController(was).Flush(); err == nil {
			t.Errorf("%s: a late flush is done", name)
		}
	}
}

func TestUpgradesAndTunnelsPassUntouched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, upgrade string }{{http.MethodConnect, ""}, {http.MethodGet, "websocket"}} {
		var got http.ResponseWriter
		h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { got = w }))
		r, w := httptest.NewRequest(c.method, "http://example.com/", http.NoBody), httptest.NewRecorder()
		if c.upgrade != "" {
			r.Header.Set("Upgrade", c.upgrade)
			r.Header.Set("Connection", "keep-alive, Upgrade")
		}
		r.Header.Set("Accept-Encoding", "gzip")
		if h.ServeHTTP(w, r); got != w {
			t.Errorf("%s, upgrade %q: the handler writes to a %T", c.method, c.upgrade, got)
		}
	}
}

func TestAResponseControllerReachesTheServer(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	s := httptest.NewServer(compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		failed <- errors.Join(rc.SetWriteDeadline(time.Now().Add(time.Minute)), rc.SetReadDeadline(time.Time{}), rc.EnableFullDuplex())
		conn, _, err := rc.Hijack()
		if err != nil {
			t.Errorf("the connection cannot be taken: %v", err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
		_ = conn.Close()
	})))
	t.Cleanup(s.Close)
	body, err := io.ReadAll(get(t, s.URL, "gzip").Body)
	if err != nil || string(body) != "mine" {
		t.Errorf("the answer is %q, %v", body, err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotCodedCostsOneAllocation(t *testing.T) {
	for name, c := range map[string]struct{ contentType, accept string }{"a picture": {"image/png", "gzip, br, zstd"}, "not accepted": {"text/plain", ""}} {
		body := []byte(text(5000))
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{c.contentType}
			_, _ = w.Write(body)
		})
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Accept-Encoding", c.accept)
		cost := func(h http.Handler) float64 {
			return testing.AllocsPerRun(100, func() { h.ServeHTTP(&counter{header: make(http.Header)}, r) })
		}
		allowed := 1.0
		if c.contentType == "text/plain" {
			allowed++ // Vary
		}
		if more := cost(compress.New(compress.Config{}, h)) - cost(h); more > allowed {
			t.Errorf("%s: %v allocations more than without", name, more)
		}
	}
}

// fetched returns an answer whose body was read.
func fetched(t *testing.T, c *http.Client, method, url, accept string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", accept)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res
}
