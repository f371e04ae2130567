package compress

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// faulty is a coder that a bug has.
type faulty struct {
	coder

	panics bool
	resets int
}

var errFault = errors.New("a fault")

func (f *faulty) Reset(io.Writer) { f.resets++ }

func (f *faulty) Write(p []byte) (int, error) {
	if f.panics {
		panic(errFault)
	}
	return len(p), nil
}

func (f *faulty) Close() error { return errFault }

func TestACoderThatFailsEndsItsResponseAndNothingElse(t *testing.T) {
	was := bySpeed
	t.Cleanup(func() { bySpeed = was })
	for name, panics := range map[string]bool{"error": false, "panic": true} {
		f := &faulty{panics: panics}
		bySpeed = []*codec{{name: "gzip", body: func() coder { return f }, bodySize: 1000}}
		budget := NewBudget(1000)
		h := New(Config{Budget: budget}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(make([]byte, 5000))
		}))
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Accept-Encoding", "gzip")
		func() {
			defer func() {
				if p := recover(); p == nil {
					t.Errorf("%s: the response came to a clean end", name)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		if budget.Used() != 0 || f.resets != 1 {
			t.Errorf("%s: %d bytes are used, the coder was reset %d times", name, budget.Used(), f.resets)
		}
	}
}

// full takes so many bytes and fails then.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFault
	}
	return len(p), nil
}

func TestACoderWhoseClientHasGoneServesTheNext(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*codec{
		"zstd fast": zstdFast, "zstd small": zstdSmall, "brotli fast": brotliFast, "brotli small": brotliSmall, "gzip fast": gzipFast, "gzip small": gzipSmall,
	} {
		for _, stream := range []bool{false, true} {
			code := func(w coder, to io.Writer) (err error) {
				w.Reset(to)
				for i := range 300 {
					_, e := w.Write(event(i))
					err = errors.Join(err, e)
					if i%3 == 0 {
						err = errors.Join(err, w.Flush())
					}
				}
				return errors.Join(err, w.Close())
			}
			pooled, _ := c.coder(stream)
			w := pooled.coder
			var want, got bytes.Buffer
			if err := code(w, &want); err != nil {
				t.Fatal(err)
			}
			for _, left := range []int{0, 1, 100, want.Len() / 2, want.Len() - 1} {
				if err := code(w, &full{left}); !errors.Is(err, errFault) {
					t.Errorf("%s, stream %v: a client that has gone after %d bytes is %v", name, stream, left, err)
				}
				w.Reset(nil)
				got.Reset()
				if err := code(w, &got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Errorf("%s, stream %v: after a client that has gone after %d bytes, the body is another, %v", name, stream, left, err)
				}
			}
		}
	}
}
