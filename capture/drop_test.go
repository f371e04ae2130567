package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
)

// original is a stream with every kind of line end, with and without ids.
const original = "\xEF\xBB\xBF: hello\n\ndata: one\n\nid: up1\r\ndata: two\r\ndata: lines\r\n\r\ndata: three\r\rretry: 10\nevent: x\ndata: four\n\n" +
	"id: bad\x00id\ndata: five\n\n: keep-alive\n\nid: up2\n\ndata\n\nevent: last\r\nid: up 3\r\ndata: {\"six\":6}\r\n\r\n"

// resume reads the rest of a stream as a client that has seen the prefix.
func (f *fixture) resume(url, prefix string) []string {
	seen, lastID := events(prefix)
	var headers []string
	if lastID != "" {
		headers = []string{"Last-Event-ID", lastID}
	}
	w := f.own("GET", url, headers...)
	rest, _ := events(w.Body.String())
	if w.Code == http.StatusOK {
		if len(rest) == 0 || rest[len(rest)-1] != "fairlead.end" {
			f.t.Errorf("after %q: the rest %q has no end", prefix, rest)
			return nil
		}
		rest = rest[:len(rest)-1]
	}
	return append(seen, rest...)
}

func TestADropAtEveryByteLosesNothing(t *testing.T) {
	t.Parallel()
	want, _ := events(original)
	cuts := map[string]func(io.Reader) io.Reader{
		"whole":        func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 0; ; at++ {
				f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{})
				ctx, leave := context.WithCancel(t.Context())
				resp := f.do(request(ctx, "GET", target, "", "Accept", "text/event-stream"))
				c := <-f.up.came
				go func() {
					io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{cut(strings.NewReader(original))})
					c.Close()
				}()
				prefix := make([]byte, at)
				n, err := io.ReadFull(resp.Body, prefix)
				leave()
				resp.Body.Close()
				got := f.resume(resp.Header.Get("Content-Location"), string(prefix[:n]))
				if !slices.Equal(got, want) || f.up.count() != 1 {
					t.Errorf("a drop at byte %d: events %q, want %q; %d calls", at, got, want, f.up.count())
				}
				if err != nil {
					if n < len(original) {
						t.Fatalf("the stream has only %d bytes: %v", n, err)
					}
					return
				}
			}
		})
	}
}

func TestADropAtRandomBytesOnSocketsLosesNothing(t *testing.T) {
	t.Parallel()
	want, _ := events(original)
	var calls atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		rnd := rand.New(rand.NewPCG(uint64(calls.Load()), 1))
		for rest := original; rest != ""; {
			n := 1 + rnd.IntN(min(len(rest), 40))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Error(err)
			}
			_ = http.NewResponseController(w).Flush()
			rest = rest[n:]
		}
	}))
	defer api.Close()
	front, store := serve(t, api.URL, capture.Config{})
	rnd := rand.New(rand.NewPCG(1, 2))
	const drops = 200
	for range drops {
		at := rnd.IntN(len(original) + 200) // ids are added
		client := &http.Client{Transport: &http.Transport{}}
		get := func(path string, headers ...string) *http.Response {
			resp, err := client.Do(request(t.Context(), "GET", front+path, "", append(headers, "Accept", "text/event-stream")...))
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		resp := get("/answer")
		prefix := make([]byte, at)
		n, _ := io.ReadFull(resp.Body, prefix)
		resp.Body.Close() // drops the connection
		seen, lastID := events(string(prefix[:n]))
		var headers []string
		if lastID != "" {
			headers = []string{"Last-Event-ID", lastID}
		}
		again := get(resp.Header.Get("Content-Location"), headers...)
		rest, err := readAll(again.Body)
		again.Body.Close()
		data, _ := events(rest)
		data = slices.DeleteFunc(data, func(s string) bool { return s == "fairlead.end" })
		if got := slices.Concat(seen, data); err != nil || !slices.Equal(got, want) {
			t.Errorf("a drop at byte %d: %q and %q, %v", at, prefix[:n], rest, err)
		}
		client.CloseIdleConnections()
	}
	if calls.Load() != drops {
		t.Errorf("the upstream was called %d times for %d answers", calls.Load(), drops)
	}
	if s := store.Stats(); s.Ended != drops || s.Calls != 0 {
		t.Errorf("store: %+v", s)
	}
}

// serve puts the standard library's proxy with capture in front of an API.
func serve(t testing.TB, api string, cfg capture.Config) (string, *capture.Store) {
	u, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	store := capture.NewStore(capture.StoreConfig{})
	transport := &http.Transport{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.Transport = store.Transport(cfg, transport)
	proxy.ErrorLog = quiet
	mux := http.NewServeMux()
	mux.Handle(capture.Prefix+"/", store)
	mux.Handle("/", proxy)
	front := httptest.NewServer(mux)
	front.Config.ErrorLog = quiet
	t.Cleanup(func() {
		store.Close()
		front.Close()
		transport.CloseIdleConnections()
	})
	return front.URL, store
}

func TestManyReadersSeeTheSame(t *testing.T) {
	t.Parallel()
	for _, readers := range []int{1, 2, 10, 50} {
		for _, drain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d readers, drain %v", readers, drain), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { manyReaders(t, readers, drain) })
			})
		}
	}
}

// manyReaders lets readers come at different times, some of them slow, some
// dropping and coming back, while 100 events come; with a drain the upstream
// is cut off after 60.
func manyReaders(t *testing.T, readers int, drain bool) {
	f := newFixture(t, capture.Config{OnDisconnect: capture.Continue}, capture.StoreConfig{})
	resp := f.get()
	url := resp.Header.Get("Content-Location")
	c := <-f.up.came
	var want []string
	for i := range 100 {
		if !drain || i < 60 {
			want = append(want, fmt.Sprint(i))
		}
	}
	wantLast := "fairlead.end"
	if drain {
		wantLast = "fairlead.fault"
	}
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 100 {
			if _, err := fmt.Fprintf(c, "data: %d\n\n", i); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
		c.Close()
	})
	if drain {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second+500*time.Millisecond)
			defer cancel()
			if err := f.store.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("drain: %v", err)
			}
		})
	}
	all.Go(func() {
		body, err := readAll(resp.Body)
		wantEvents(t, body, want...)
		if (err != nil) != drain {
			t.Errorf("the first reader's end: %v", err)
		}
	})
	for i := range readers {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 700 * time.Millisecond)
			var got []string
			id := ""
			for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "fairlead.") {
				ctx, cancel := context.WithCancel(t.Context())
				w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), pause: time.Duration(i%5) * 300 * time.Millisecond, most: 3 + i%40, drop: cancel}
				r := httptest.NewRequestWithContext(ctx, "GET", url, nil)
				if id != "" {
					r.Header.Set("Last-Event-ID", id)
				}
				f.store.ServeHTTP(w, r)
				cancel()
				data, last := events(w.Body.String())
				got, id = append(got, data...), last
			}
			if !slices.Equal(got, append(slices.Clone(want), wantLast)) {
				t.Errorf("reader %d saw %q", i, got)
			}
		})
	}
	all.Wait()
	if f.up.count() != 1 {
		t.Errorf("%d calls", f.up.count())
	}
}

// slowWriter pauses at each write and drops the connection after most.
type slowWriter struct {
	*httptest.ResponseRecorder

	pause time.Duration
	most  int
	drop  func()
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.most--; w.most < 0 {
		w.drop()
		return 0, errBroken
	}
	time.Sleep(w.pause)
	return w.ResponseRecorder.Write(p)
}

func TestAnEventSourceThatDropsAtAnyByteGoesOnAtTheOriginalURL(t *testing.T) {
	t.Parallel()
	const sent = "data: one\n\n: comment\n\ndata: two\r\ndata: lines\r\n\r\nretry: 5\n\ndata: three\r\revent: x\ndata: four\n\n"
	want, _ := events(sent)
	for at := 0; ; at++ {
		f := newFixture(t, capture.Config{}, capture.StoreConfig{})
		eventSource := func(headers ...string) *http.Response {
			return f.get(append(headers, "Cache-Control", "no-cache")...)
		}
		resp := eventSource()
		c := <-f.up.came
		go io.WriteString(c, sent)
		prefix := make([]byte, at)
		n, _ := io.ReadFull(io.LimitReader(resp.Body, int64(at)), prefix)
		resp.Body.Close()
		seen, lastID := events(string(prefix[:n]))
		if lastID == "" { // not even the block that precedes all events has arrived
			continue
		}
		again := eventSource("Last-Event-ID", lastID)
		rest := ""
		if len(seen) < len(want) {
			rest = next(t, again.Body, len(want)-len(seen))
		}
		c.Close()
		more, err := readAll(again.Body)
		data, _ := events(rest + more)
		if got := slices.Concat(seen, data); err != nil || !slices.Equal(got, want) || f.up.count() != 1 {
			t.Errorf("a drop at byte %d: events %q, %v; %d calls", at, got, err, f.up.count())
		}
		if len(seen) == len(want) {
			return
		}
	}
}

func TestARepeatWithACursorGoesOnThere(t *testing.T) {
	t.Parallel()
	x := inState(t, "ended", capture.Config{}, owned...)
	first, _ := readAll(x.get(owned...).Body)
	_, id := events(first)
	if body, err := readAll(x.get(append(slices.Clone(owned), "Last-Event-ID", id)...).Body); body != "" || err != nil || x.up.count() != 1 {
		t.Errorf("%q, %v, %d calls", body, err, x.up.count())
	}
}
