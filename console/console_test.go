package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/console"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/memnet"
	"github.com/fairlead-edge/fairlead/sse"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestThePageLoadsWhatIsItsOwnOnly(t *testing.T) {
	t.Parallel()
	c := console.New(console.Config{})
	for path, kind := range map[string]string{
		"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css",
		"/demonstration.html": "text/html", "/readers.js": "text/javascript", "/none": "text/plain",
	} {
		w := httptest.NewRecorder()
		c.Page(w, httptest.NewRequest(http.MethodGet, path, nil))
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %v", path, w.Header())
		}
		if body := w.Body.String(); strings.Contains(body, "style=") || strings.Contains(body, "<script>") {
			t.Errorf("%s has what its policy forbids", path)
		}
	}
}

func TestAllViewersShareASnapshotAndNobodyLookingMakesNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		leaving := make(chan struct{})
		c := console.New(console.Config{Leaving: leaving, Snapshot: func() []byte { return fmt.Appendf(nil, `{"n":%d}`, made.Add(1)) }})
		s := memnet.Serve(t, &http.Server{Handler: http.HandlerFunc(c.Feed)}, &http.Transport{})
		time.Sleep(time.Minute)
		if made.Load() != 0 {
			t.Errorf("%d were made for nobody", made.Load())
		}
		ctx, leave := context.WithCancel(t.Context())
		var viewers sync.WaitGroup
		for i := range 3 {
			of := t.Context()
			if i == 0 {
				of = ctx
			}
			req, err := http.NewRequestWithContext(of, http.MethodGet, "http://admin/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			viewers.Go(func() {
				defer res.Body.Close()
				d := sse.NewDecoder(res.Body)
				for n := 1; ; n++ {
					e, err := d.Next()
					if err != nil {
						return
					}
					if string(e.Data) != fmt.Sprintf(`{"n":%d}`, n) {
						t.Errorf("the snapshot %d is %s", n, e.Data)
					}
				}
			})
		}
		time.Sleep(9500 * time.Millisecond)
		if made.Load() != 10 {
			t.Errorf("%d were made in 10 seconds", made.Load())
		}
		leave()
		close(leaving)
		viewers.Wait()
	})
}

func TestWhatCannotBeStreamedIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := console.New(console.Config{Snapshot: func() []byte { return []byte("{}") }})
	w := httptest.NewRecorder()
	c.Feed(struct{ http.ResponseWriter }{w}, httptest.NewRequest(http.MethodGet, "/", nil))
	if body, _ := io.ReadAll(w.Result().Body); len(body) > 0 {
		t.Errorf("%q", body)
	}
}

func TestTheHeaderOfTheFeedHasAnEnd(t *testing.T) {
	t.Parallel()
	c := console.New(console.Config{}) // no snapshot is asked for
	w := httptest.NewRecorder()
	c.Feed(w, httptest.NewRequest(http.MethodHead, "/", nil))
	if w.Header().Get("Content-Type") != "text/event-stream" || w.Body.Len() > 0 {
		t.Errorf("%v %q", w.Header(), w.Body)
	}
}
