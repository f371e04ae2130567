package compress_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

// onBoth runs f with a server of h that speaks HTTP/1.1, and one of HTTP/2.
func onBoth(t *testing.T, h http.Handler, f func(t *testing.T, url string, c *http.Client)) {
	t.Helper()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(h)
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(!h2)
			s.Config.Protocols.SetUnencryptedHTTP2(h2)
			s.Start()
			t.Cleanup(s.Close)
			tr := &http.Transport{Protocols: s.Config.Protocols, DisableCompression: true}
			t.Cleanup(tr.CloseIdleConnections)
			f(t, s.URL, &http.Client{Transport: tr})
		})
	}
}

func TestEachEventArrivesBeforeTheNextIsWritten(t *testing.T) {
	t.Parallel()
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
			onBoth(t, compress.New(compress.Config{}, h), func(t *testing.T, url string, c *http.Client) {
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
		_ = http.NewResponseController(w).Flush()
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
	t.Parallel()
	for _, coding := range codings {
		onBoth(t, compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
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
	for _, coding := range codings {
		h := compress.New(compress.Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, err := io.WriteString(w, text(5000))
			if err == nil {
				err = http.NewResponseController(w).Flush()
			}
			if !errors.Is(err, errGone) {
				t.Errorf("%q: the handler saw %v", coding, err)
			}
		}))
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Accept-Encoding", coding)
		h.ServeHTTP(broken{httptest.NewRecorder()}, r)
	}
}
