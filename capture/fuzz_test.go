package capture_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/sse"
)

// FuzzRecorder checks that whatever an upstream sends, in whatever pieces, a
// reader gets the same events as from the upstream itself, first and again.
func FuzzRecorder(f *testing.F) {
	for _, seed := range []string{original, "data: a\r", "data\n\nid\n\n", "\r\r\n\n\rdata:x\r\n\r", ":\r\n\r\n", "\xEF\xBB", "id: 1\ndata: a\n\ndata: b"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, sent []byte, piece uint8) {
		store := capture.NewStore(capture.StoreConfig{})
		defer store.Close()
		rt := store.Transport(capture.Config{}, roundTripper(func(r *http.Request) (*http.Response, error) {
			body := &pieces{bytes.NewReader(sent), int(piece)%16 + 1}
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(body), ContentLength: -1, Request: r}, nil
		}))
		resp, err := rt.RoundTrip(request(t.Context(), "GET", target, ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := decode(string(sent))
		if first := decode(got); first != want {
			t.Errorf("first: %q; want %q, from %q", first, want, got)
		}
		w := httptest.NewRecorder()
		store.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", resp.Header.Get("Content-Location"), nil))
		again := strings.TrimSuffix(decode(w.Body.String()), `fairlead.end:{}`+"\n")
		if again != want {
			t.Errorf("again: %q; want %q, from %q", again, want, w.Body)
		}
	})
}

type pieces struct {
	io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

// decode returns the types and data of a stream's events, as its readers see
// them, and the ids that the upstream gave.
func decode(stream string) string {
	var b strings.Builder
	d := sse.NewDecoder(strings.NewReader(stream))
	for {
		e, err := d.Next()
		if err != nil {
			return b.String()
		}
		if e.HasID && !strings.HasPrefix(e.ID, "fl1") {
			b.WriteString("#" + e.ID + " ")
		}
		b.WriteString(e.Type + ":" + string(e.Data) + "\n")
	}
}
