package capture_test

import (
	"bufio"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/capture"
)

var quiet = log.New(io.Discard, "", 0)

func TestWhatTheUpstreamSendsArrives(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20-20)
	for _, c := range []struct {
		name, sent string
		want       string // CUR stands for an id of ours; "" for sent
	}{
		{"LF", "data: a\n\n", "id: CUR\ndata: a\n\n"},
		{"CR", "data: a\r\r", "id: CUR\rdata: a\r\r"},
		{"CRLF", "data: a\r\n\r\n", "id: CUR\r\ndata: a\r\n\r\n"},
		{"a byte order mark", "\xEF\xBB\xBFdata: a\n\n", "id: CUR\ndata: a\n\n"},
		{"its own ids", "data: a\nid: 7\n\nid: 8\r\n\r\n", ""},
		{"an empty id", "id\ndata: a\n\n", ""},
		{"an id with NUL", "id: \x00\ndata: a\n\n", "id: CUR\nid: \x00\ndata: a\n\n"},
		{"comments", ": a\n: b\n\n\n: c\r\r", ""},
		{"fields without data", "event: x\n\nretry: 5\n\n", ""},
		{"an event at the limit", "id: 1\ndata: " + big + "\n\n", ""},
		{"what is no event stream", "{\"error\":1}\n\n", ""},
		{"invalid UTF-8", "data: \xff\n\n", "id: CUR\ndata: \xff\n\n"},
		{"a clean end inside an event", "id: 1\ndata: a\n\ndata: [DO", ""},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, capture.Config{}, capture.StoreConfig{})
			resp := f.get()
			up := <-f.up.came
			go func() {
				io.WriteString(up, c.sent)
				up.Close()
			}()
			got, err := readAll(resp.Body)
			if i := strings.Index(got, "fl1"); i >= 0 {
				j := i + strings.IndexAny(got[i:], "\r\n")
				got = got[:i] + "CUR" + got[j:]
			}
			want := c.want
			if want == "" {
				want = c.sent
			}
			if got != want || err != nil {
				t.Errorf("%.100q, %v; want %.100q", got, err, want)
			}
			own := f.own("GET", resp.Header.Get("Content-Location")).Body.String()
			if !strings.HasSuffix(own, "\n\n") || strings.Contains(own, "[DO") {
				t.Errorf("own URL: %.100q", own)
			}
		})
	}
}

func TestATooLargeEventIsAFault(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	resp := f.get()
	c := <-f.up.came
	go func() { io.WriteString(c, "data: a\n\ndata: "+strings.Repeat("x", 1<<20)+"\n\n") }()
	body, err := readAll(resp.Body)
	wantEvents(t, body, "a")
	if fairlead.AsError(err).Code != fairlead.TooLarge {
		t.Errorf("error %v", err)
	}
	own := f.own("GET", resp.Header.Get("Content-Location")).Body.String()
	wantEvents(t, own, "a", "fairlead.fault")
	if !strings.Contains(own, `"code":"too_large"`) {
		t.Errorf("fault %q", own)
	}
	<-c.req.Context().Done()
}

// TestABrokenUpstreamIsNeverACleanEnd breaks the connection in several ways.
func TestABrokenUpstreamIsNeverACleanEnd(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"truncated chunk":      "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n20\r\ndata: trunc",
		"missing final chunk":  "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n6\r\ndata: \r\n",
		"short of its length":  "Content-Length: 100\r\n\r\ndata: a\n\ndata: b",
		"garbage for a chunk":  "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\nzz\r\n",
		"cut inside line ends": "Transfer-Encoding: chunked\r\n\r\n12\r\ndata: a\n\ndata: b\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				out := bufio.NewWriter(conn)
				out.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + sent)
				out.Flush()
			}))
			defer api.Close()
			front, store := serve(t, api.URL, capture.Config{})
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			resp, err := client.Get(front + "/answer")
			if err != nil {
				t.Fatal(err)
			}
			body, err := readAll(resp.Body)
			resp.Body.Close()
			data, _ := events(body)
			if err == nil || len(data) > 1 || len(data) == 1 && data[0] != "a" || strings.Contains(body, "trunc") {
				t.Errorf("%q, %v", body, err)
			}
			own, err := client.Get(front + resp.Header.Get("Content-Location"))
			if err != nil {
				t.Fatal(err)
			}
			body, err = readAll(own.Body)
			own.Body.Close()
			if err != nil || !strings.Contains(body, `"code":"fault"`) {
				t.Errorf("own URL: %q, %v", body, err)
			}
			wantEvents(t, body, "a", "fairlead.fault")
			if s := store.Stats(); s.Faulted != 1 {
				t.Errorf("store: %+v", s)
			}
		})
	}
}

func TestAnUpstreamThatCannotBeReachedIsAnError(t *testing.T) {
	t.Parallel()
	store := capture.NewStore(capture.StoreConfig{})
	defer store.Close()
	rt := store.Transport(capture.Config{}, roundTripper(func(*http.Request) (*http.Response, error) { return nil, errBroken }))
	for range 2 {
		if resp, err := rt.RoundTrip(request(t.Context(), "GET", target, "", "Idempotency-Key", "k")); err != errBroken {
			t.Errorf("%v, %v", resp, err)
		}
	}
}

func TestAnErrorUnderAKeyIsNotKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	f.up.status = 500
	for i := range 3 {
		resp := f.get("Idempotency-Key", "k")
		(<-f.up.came).Close()
		if body, err := readAll(resp.Body); resp.StatusCode != 500 || body != "" || err != nil || f.up.count() != i+1 {
			t.Errorf("%d %q %v, %d calls", resp.StatusCode, body, err, f.up.count())
		}
	}
}

func TestTrailersArrive(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Trailer", "X-Cost")
		io.WriteString(w, "data: a\n\n")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Cost", "7")
	}))
	defer api.Close()
	front, _ := serve(t, api.URL, capture.Config{})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(front + "/answer")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := readAll(resp.Body); err != nil || resp.Trailer.Get("X-Cost") != "7" {
		t.Errorf("trailer %v, %v", resp.Trailer, err)
	}
}

func TestAReaderThatNeverReadsHoldsTheUpstreamBackForItsPatienceOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{StreamBytes: 64 << 10})
		stuck := f.get()
		c := <-f.up.came
		began := time.Now()
		for range 1000 {
			io.WriteString(c, "data: "+strings.Repeat("x", 1000)+"\n\n")
		}
		c.Close()
		synctest.Wait()
		if held := time.Since(began); held < 30*time.Second || held > 2*time.Minute {
			t.Errorf("the upstream was held back for %v", held)
		}
		if body, err := readAll(stuck.Body); err == nil {
			t.Errorf("the reader that lost its place read %d bytes and a clean end", len(body))
		}
		own := f.own("GET", stuck.Header.Get("Content-Location")).Body.String()
		data, _ := events(own)
		if len(data) < 10 || data[0] != "fairlead.gap" || data[len(data)-1] != "fairlead.end" {
			t.Errorf("own URL: %d events", len(data))
		}
	})
}
