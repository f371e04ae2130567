package compress_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

func FuzzAcceptEncoding(f *testing.F) {
	for _, seed := range []string{"", "gzip", "br;q=0.5, *;q=0", "identity;q=0", "gzip;q=NaN", ",;=,;q", "zstd;q=1e400"} {
		f.Add(seed)
	}
	h := compress.New(compress.Config{}, says("text/plain", text(2000)))
	f.Fuzz(func(t *testing.T, accept string) {
		res := answer(h, http.MethodGet, "Accept-Encoding", accept)
		body, err := io.ReadAll(res.Body)
		if err != nil || decode(t, res.Header.Get("Content-Encoding"), body) != text(2000) {
			t.Errorf("%q: the body is another, %v", accept, err)
		}
		if coding := res.Header.Get("Content-Encoding"); !strings.Contains(strings.ToLower(accept), coding) && !strings.Contains(accept, "*") {
			t.Errorf("%q: the coding %s is not among them", accept, coding)
		}
	})
}

// FuzzRoundTrip writes its input in parts and flushes between some of them, as
// its own bytes say.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("data: one\n\ndata: two\n\n"), uint8(0), false)
	f.Add([]byte(text(5000)), uint8(7), true)
	f.Add([]byte{}, uint8(1), false)
	f.Fuzz(func(t *testing.T, body []byte, step uint8, size bool) {
		cfg := compress.Config{MinSize: 100}
		if size {
			cfg.Prefer = compress.Size
		}
		h := compress.New(cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			rest := body
			for len(rest) > 0 {
				n := min(len(rest), int(step)+1)
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				if rest[0]%3 == 0 {
					if err := http.NewResponseController(w).Flush(); err != nil {
						t.Fatal(err)
					}
				}
				rest = rest[n:]
			}
		}))
		for _, coding := range codings {
			res := answer(h, http.MethodGet, "Accept-Encoding", coding)
			coded, err := io.ReadAll(res.Body)
			if err != nil || decode(t, res.Header.Get("Content-Encoding"), coded) != string(body) {
				t.Errorf("%s: the body is another, %v", coding, err)
			}
		}
	})
}
