package compress_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

// onEach runs f with servers of h that speak HTTP/1.1, and HTTP/2 with and
// without TLS.
func onEach(t *testing.T, h http.Handler, f func(t *testing.T, url string, c *http.Client)) {
	t.Helper()
	start := map[string]func(s *httptest.Server){
		"HTTP/1.1": func(s *httptest.Server) { s.Config.Protocols.SetHTTP1(true); s.Start() },
		"h2c":      func(s *httptest.Server) { s.Config.Protocols.SetUnencryptedHTTP2(true); s.Start() },
		"HTTP/2":   func(s *httptest.Server) { s.Config.Protocols.SetHTTP2(true); s.EnableHTTP2 = true; s.StartTLS() },
	}
	for name, start := range start {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(h)
			s.Config.Protocols = new(http.Protocols)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			start(s)
			t.Cleanup(s.Close)
			c := s.Client()
			tr, ok := c.Transport.(*http.Transport)
			if !ok {
				t.Fatalf("the client's transport is a %T", c.Transport)
			}
			tr.Protocols, tr.DisableCompression = s.Config.Protocols, true
			f(t, s.URL, c)
		})
	}
}

// TestABodyIsTheSameInEachCoding is of bodies that are not flushed, with their
// length and without.
func TestABodyIsTheSameInEachCoding(t *testing.T) {
	for _, prefer := range []compress.Prefer{compress.Speed, compress.Size} {
		for _, size := range []int{1024, 60_000, 700_000} {
			for _, length := range []string{"", strconv.Itoa(size)} {
				h := compress.New(compress.Config{Prefer: prefer}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/plain")
					if length != "" {
						w.Header().Set("Content-Length", length)
					}
					for part := range slices.Chunk([]byte(text(size)), 10_000) {
						_, _ = w.Write(part)
					}
				}))
				onEach(t, h, func(t *testing.T, url string, c *http.Client) {
					for _, coding := range codings {
						req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
						if err != nil {
							t.Fatal(err)
						}
						req.Header.Set("Accept-Encoding", coding)
						res, err := c.Do(req)
						if err != nil {
							t.Fatal(err)
						}
						body, err := io.ReadAll(res.Body)
						_ = res.Body.Close()
						if err != nil || res.Header.Get("Content-Encoding") != coding || decode(t, coding, body) != text(size) {
							t.Errorf("%d bytes as %q, coded %q: the body is another, %v", size, coding, res.Header.Get("Content-Encoding"), err)
						}
					}
				})
			}
		}
	}
}

func TestEachEventArrivesBeforeTheNextIsWritten(t *testing.T) {
	const events = 50
	for _, contentType := range []string{"text/event-stream", "application/x-ndjson"} {
		for _, coding := range codings {
			next := make(chan struct{})
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", contentType)
				for i := range events {
					<-next
					fmt.Fprintf(w, "data: event %d\n", i)
					if err := http.NewResponseController(w).Flush(); err != nil {
						return
					}
				}
			})
			onEach(t, compress.New(compress.Config{}, h), func(t *testing.T, url string, c *http.Client) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept-Encoding", coding)
				go func() { next <- struct{}{} }()
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if got := res.Header.Get("Content-Encoding"); got != coding {
					t.Fatalf("the coding is %q, want %q", got, coding)
				}
				lines := bufio.NewReader(decoder(t, coding, res.Body))
				for i := range events {
					line, err := lines.ReadString('\n')
					if want := fmt.Sprintf("data: event %d\n", i); err != nil || line != want {
						t.Fatalf("%s: %q, %v, want %q", coding, line, err, want)
					}
					if i < events-1 {
						next <- struct{}{}
					}
				}
				if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
					t.Errorf("%s: after the last event came %q, %v", coding, rest, err)
				}
			})
		}
	}
}

func TestTheHeaderOfAStreamIsSentBeforeItsFirstEvent(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		<-release
	})))
	t.Cleanup(s.Close)
	res := get(t, s.URL, "zstd") // returns, so the header was sent
	close(release)
	body, err := io.ReadAll(res.Body)
	if err != nil || decode(t, "zstd", body) != "" {
		t.Errorf("the stream has %d bytes, %v", len(body), err)
	}
}

func TestAHandlerThatGivesUpLeavesNoEnd(t *testing.T) {
	for _, coding := range codings {
		onEach(t, compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, text(20_000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})), func(t *testing.T, url string, c *http.Client) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", coding)
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, err := io.ReadAll(decoder(t, coding, res.Body)); err == nil {
				t.Errorf("%q: %d bytes came to a clean end", coding, len(got))
			}
		})
	}
}

func TestASmallBodyOfAHandlerThatGivesUpIsNotSent(t *testing.T) {
	onEach(t, compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "half of")
		panic(http.ErrAbortHandler)
	})), func(t *testing.T, url string, c *http.Client) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		if res, err := c.Do(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("there was an answer, %d", res.StatusCode)
		}
	})
}

func TestStreamsBeyondTheBudgetAreNotCoded(t *testing.T) {
	t.Parallel()
	budget := compress.NewBudget(2 << 20)
	release, in := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(compress.New(compress.Config{Budget: budget}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		in <- struct{}{}
		<-release
	})))
	t.Cleanup(s.Close)
	coded := 0
	var open []*http.Response
	for range 10 {
		go func() { <-in }()
		res := get(t, s.URL, "zstd")
		open = append(open, res)
		if res.Header.Get("Content-Encoding") == "zstd" {
			coded++
		}
	}
	if coded == 0 || coded == 10 || budget.Refused() != int64(10-coded) || budget.Used() == 0 {
		t.Errorf("%d of 10 are coded, %d refused, %d bytes used", coded, budget.Refused(), budget.Used())
	}
	close(release)
	for _, res := range open {
		body, err := io.ReadAll(res.Body)
		if err != nil || decode(t, res.Header.Get("Content-Encoding"), body) != "data: first\n\n" {
			t.Errorf("a stream ended with %v", err)
		}
	}
	s.Close()
	if budget.Used() != 0 {
		t.Errorf("%d bytes were not given back", budget.Used())
	}
}

// broken is a client that has gone.
type broken struct{ *httptest.ResponseRecorder }

var errGone = errors.New("gone")

func (broken) Write([]byte) (int, error) { return 0, errGone }

func TestTheHandlerSeesThatTheClientHasGone(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"text/event-stream", "text/plain"} {
		for _, coding := range codings {
			h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", contentType)
				_, err := io.WriteString(w, text(500))
				if err == nil {
					_, err = io.WriteString(w, text(5000))
				}
				if err == nil {
					err = http.NewResponseController(w).Flush()
				}
				if !errors.Is(err, errGone) {
					t.Errorf("%s, %q: the handler saw %v", contentType, coding, err)
				}
				if _, err := io.WriteString(w, text(500_000)); !errors.Is(err, errGone) {
					t.Errorf("%s, %q: then the handler saw %v", contentType, coding, err)
				}
			}))
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("Accept-Encoding", coding)
			h.ServeHTTP(broken{httptest.NewRecorder()}, r)
		}
	}
}

func TestStreamsLeaveMemoryToBodies(t *testing.T) {
	t.Parallel()
	budget := compress.NewBudget(4 << 20)
	release := make(chan struct{})
	s := httptest.NewServer(compress.New(compress.Config{Budget: budget}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, text(5000))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-release
	})))
	t.Cleanup(s.Close)
	coded := "zstd"
	for n := 0; coded != ""; n++ {
		if n > 10 {
			t.Fatal("streams of more than the budget are coded")
		}
		coded = get(t, s.URL, "zstd").Header.Get("Content-Encoding")
	}
	if got := get(t, s.URL+"/body", "zstd").Header.Get("Content-Encoding"); got != "zstd" {
		t.Errorf("with as many streams as may be coded, a body is coded %q", got)
	}
	close(release)
}
