package capture_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/sse"
)

func TestMain(m *testing.M) {
	if upstream := os.Getenv(benchTarget); upstream != "" {
		benchProxy(upstream)
		return
	}
	leak.Main(m)
}

// upstream is an API in memory. Each call's response is a pipe that the test
// writes to.
type upstream struct {
	header http.Header   // of the responses
	status int           // 200 when 0
	length int64         // -1 when 0
	hold   chan struct{} // unless nil, headers wait for it

	mu    sync.Mutex
	calls []*call
	came  chan *call
}

type call struct {
	*io.PipeWriter

	req *http.Request
}

func newUpstream() *upstream {
	return &upstream{header: http.Header{"Content-Type": {"text/event-stream"}}, came: make(chan *call, 1000)}
}

func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	pr, pw := io.Pipe()
	c := &call{pw, r}
	u.mu.Lock()
	u.calls = append(u.calls, c)
	u.mu.Unlock()
	u.came <- c
	if u.hold != nil {
		select {
		case <-u.hold:
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	stop := context.AfterFunc(r.Context(), func() { pr.CloseWithError(context.Cause(r.Context())) })
	length := u.length
	if length == 0 {
		length = -1
	}
	return &http.Response{
		StatusCode: max(u.status, 200), ProtoMajor: 1, ProtoMinor: 1, Header: u.header.Clone(),
		Body: &pipeBody{pr, stop}, ContentLength: length, Request: r,
	}, nil
}

type pipeBody struct {
	*io.PipeReader

	stop func() bool
}

func (b *pipeBody) Close() error {
	b.stop()
	return b.PipeReader.Close()
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.calls)
}

// fixture is a store with one route to an upstream in memory.
type fixture struct {
	t     *testing.T
	up    *upstream
	store *capture.Store
	rt    http.RoundTripper
}

func newFixture(t *testing.T, cfg capture.Config, bounds capture.StoreConfig) *fixture {
	t.Helper()
	f := &fixture{t: t, up: newUpstream(), store: capture.NewStore(bounds)}
	f.rt = f.store.Transport(cfg, f.up)
	t.Cleanup(f.store.Close)
	return f
}

const target = "http://api.test/v1/answer?q=1"

func request(ctx context.Context, method, url, body string, headers ...string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// get makes a request that a native EventSource would not make.
func (f *fixture) get(headers ...string) *http.Response {
	f.t.Helper()
	return f.do(request(f.t.Context(), "GET", target, "", append([]string{"Accept", "text/event-stream"}, headers...)...))
}

func (f *fixture) do(r *http.Request) *http.Response {
	f.t.Helper()
	resp, err := f.rt.RoundTrip(r)
	if err != nil {
		f.t.Fatalf("round trip: %v", err)
	}
	f.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// own asks for a stream's own URL and returns the whole answer.
func (f *fixture) own(method, path string, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(f.t.Context(), method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	f.store.ServeHTTP(w, r)
	return w
}

// readAll reads a body to its end, and says how it ended.
func readAll(body io.Reader) (string, error) {
	b, err := io.ReadAll(body)
	return string(b), err
}

// events returns the data of the events of a stream, control events as their
// types, and the last id.
func events(stream string) (data []string, lastID string) {
	d := sse.NewDecoder(strings.NewReader(stream))
	for {
		e, err := d.Next()
		if err != nil {
			return data, d.LastEventID()
		}
		if strings.HasPrefix(e.Type, "fairlead.") {
			data = append(data, e.Type)
			continue
		}
		data = append(data, string(e.Data))
	}
}

func wantEvents(t *testing.T, stream string, want ...string) string {
	t.Helper()
	got, id := events(stream)
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q in %q", got, want, stream)
	}
	return id
}

// next reads until the body has given n events, and returns them.
func next(t *testing.T, body io.Reader, n int) string {
	t.Helper()
	var got strings.Builder
	buf := make([]byte, 4096)
	for {
		if data, _ := events(got.String()); len(data) >= n {
			return got.String()
		}
		k, err := body.Read(buf)
		got.Write(buf[:k])
		if err != nil {
			t.Fatalf("read: %v after %q", err, got.String())
		}
	}
}

var errBroken = errors.New("connection reset by peer")
