package compress_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/compress"
)

// slowly is a response that takes an hour for each write.
type slowly struct{ *httptest.ResponseRecorder }

func (s slowly) Write(p []byte) (int, error) {
	time.Sleep(time.Hour)
	return s.ResponseRecorder.Write(p)
}

func TestWhatACoderDoesIsToldAtEachFlushWithoutTheTimeOfSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			var told []compress.Progress
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 3 {
					fmt.Fprintf(w, "data: event %d\n\n", i)
					if http.NewResponseController(w).Flush() != nil || len(told) != i+1 {
						t.Errorf("%s: after %d flushes %d were told", coding, i+1, len(told))
					}
				}
			})
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("Accept-Encoding", coding)
			w := slowly{httptest.NewRecorder()}
			compress.New(compress.Config{Progress: func(p compress.Progress) { told = append(told, p) }}, h).ServeHTTP(w, r)
			var before, after int64
			for _, p := range told {
				before, after = before+p.Before, after+p.After
				if p.Coding != coding || p.Took != 0 { // time stands still for who does not wait
					t.Errorf("told %+v", p)
				}
			}
			if before != int64(3*len("data: event 0\n\n")) || after != int64(w.Body.Len()) {
				t.Errorf("%s: told of %d bytes before and %d after, of which %d came", coding, before, after, w.Body.Len())
			}
		}
	})
}

func TestWhatACoderDoesIsToldAtTheEndOfABody(t *testing.T) {
	t.Parallel()
	var told []compress.Progress
	cfg := compress.Config{Progress: func(p compress.Progress) { told = append(told, p) }}
	answer(compress.New(cfg, says("text/plain", text(50_000))), http.MethodGet, "Accept-Encoding", "gzip")
	if len(told) != 1 || told[0].Coding != "gzip" || told[0].Before != 50_000 || told[0].After <= 0 || told[0].Took <= 0 {
		t.Errorf("told %+v", told)
	}
	told = nil
	answer(compress.New(cfg, says("text/plain", text(50_000))), http.MethodGet)
	if len(told) != 0 {
		t.Errorf("without a coder told %+v", told)
	}
}
