package compress_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// codings are those that a client can ask for, and how each is undone.
var codings = []string{"zstd", "br", "gzip", ""}

func decoder(t testing.TB, coding string, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	case "br":
		return brrr.NewReader(r)
	case "gzip":
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "":
		return r
	}
	t.Fatalf("nobody asked for the coding %q", coding)
	return nil
}

func decode(t testing.TB, coding string, body []byte) string {
	t.Helper()
	text, err := io.ReadAll(decoder(t, coding, bytes.NewReader(body)))
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(text)
}

// answer has h answer a request with the headers given, in pairs.
func answer(h http.Handler, method string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://example.com/", http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// text is a body of n bytes that shrinks.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a text\n", i)
	}
	return b.String()[:n]
}

// says answers with the type and body given, and further headers in pairs.
func says(contentType, body string, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	})
}
