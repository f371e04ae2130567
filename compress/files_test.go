package compress_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fairlead-edge/fairlead/compress"
)

func site(at time.Time) fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s), ModTime: at} }
	return fstest.MapFS{
		"index.html":          file("<!doctype html> the page"),
		"app.js":              file("the script, which is the longest of all"),
		"app.js.zst":          file("the script by zstd"),
		"app.js.br":           file("the script by br"),
		"app.js.gz":           file("the script by gzip, longer"),
		"LICENSE":             file("text without an extension, such as this"),
		"LICENSE.gz":          file("text by gzip"),
		"old.css":             file("the style after a change"),
		"old.css.br":          &fstest.MapFile{Data: []byte("before"), ModTime: at.Add(-time.Second)},
		"noise.bin":           file("noise"),
		"noise.bin.gz":        file("longer than the noise"),
		"folder/index.html":   file("the folder's page"),
		"empty/other.txt":     file("other"),
		".secret":             file("secret"),
		".git/config":         file("secret"),
		"folder/.secret":      file("secret"),
		"folder/.a/other.txt": file("secret"),
		"pipe":                &fstest.MapFile{Mode: fs.ModeNamedPipe},
	}
}

func askFile(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.URL.Path, _, _ = strings.Cut(path, "?")
	_, r.URL.RawQuery, _ = strings.Cut(path, "?")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAFileIsSentInTheShortestFormThatTheClientAccepts(t *testing.T) {
	h := compress.Files(site(time.Unix(1e9, 0)))
	for _, c := range []struct{ path, accept, coding, contentType, vary string }{
		{"/app.js", "gzip, br, zstd", "br", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "gzip, zstd", "zstd", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "gzip", "gzip", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "br;q=0.5, gzip", "gzip", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "*", "br", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "br;q=0, *", "zstd", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "identity, br;q=0.5", "", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "", "", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/app.js", "deflate", "", "text/javascript; charset=utf-8", "Accept-Encoding"},
		{"/LICENSE", "gzip, br", "gzip", "text/plain; charset=utf-8", "Accept-Encoding"},
		{"/old.css", "br", "", "text/css; charset=utf-8", ""},
		{"/noise.bin", "gzip", "", "", ""},
		{"/", "gzip", "", "text/html; charset=utf-8", ""},
		{"/folder/", "gzip", "", "text/html; charset=utf-8", ""},
	} {
		w := askFile(h, http.MethodGet, c.path, "Accept-Encoding", c.accept)
		header := w.Header()
		if w.Code != http.StatusOK || header.Get("Content-Encoding") != c.coding || header.Get("Vary") != c.vary ||
			c.contentType != "" && header.Get("Content-Type") != c.contentType {
			t.Errorf("%s for %q: %d %v", c.path, c.accept, w.Code, header)
		}
		if c.coding != "" && !strings.Contains(w.Body.String(), "by "+c.coding) {
			t.Errorf("%s for %q: %s", c.path, c.accept, w.Body)
		}
		if got := header.Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
			t.Errorf("%s for %q: length %q of %d", c.path, c.accept, got, w.Body.Len())
		}
		if offered := header.Get("Accept-Ranges") != ""; offered != (c.coding == "") {
			t.Errorf("%s for %q: ranges %v", c.path, c.accept, offered)
		}
		head := askFile(h, http.MethodHead, c.path, "Accept-Encoding", c.accept)
		if head.Body.Len() != 0 || fmt.Sprint(head.Header()) != fmt.Sprint(header) {
			t.Errorf("%s for %q: HEAD has %v, GET %v", c.path, c.accept, head.Header(), header)
		}
	}
}

func TestEachFormHasAnETagOfItsOwn(t *testing.T) {
	for name, at := range map[string]time.Time{"by time": time.Unix(1e9, 0), "by content": {}} {
		h := compress.Files(site(at))
		seen := map[string]string{}
		for _, coding := range []string{"", "gzip", "br", "zstd"} {
			etag := askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", coding).Header().Get("Etag")
			if other, ok := seen[etag]; ok || len(etag) < 3 || etag[0] != '"' {
				t.Errorf("%s: %q has %s, and %q", name, coding, etag, other)
			}
			seen[etag] = coding
			w := askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", coding, "If-None-Match", etag)
			if w.Code != http.StatusNotModified || w.Header().Get("Etag") != etag || w.Header().Get("Vary") == "" ||
				w.Header().Get("Content-Encoding")+w.Header().Get("Content-Length") != "" || w.Body.Len() != 0 {
				t.Errorf("%s: %q: %d %v", name, coding, w.Code, w.Header())
			}
			w = askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", coding, "If-Match", `"another"`)
			if w.Code != http.StatusPreconditionFailed || w.Header().Get("Content-Encoding")+w.Header().Get("Content-Length") != "" {
				t.Errorf("%s: %q: %d %v", name, coding, w.Code, w.Header())
			}
		}
	}
	changed := site(time.Unix(1e9, 0))
	h := compress.Files(changed)
	before := askFile(h, http.MethodGet, "/index.html").Header().Get("Etag")
	changed["index.html"].ModTime = time.Unix(1e9, 1)
	if after := askFile(h, http.MethodGet, "/index.html").Header().Get("Etag"); before == after {
		t.Errorf("%s before and after a change", before)
	}
}

func TestRangesAreOfTheFileItself(t *testing.T) {
	h := compress.Files(site(time.Unix(1e9, 0)))
	w := askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", "br", "Range", "bytes=4-9")
	if w.Code != http.StatusPartialContent || w.Body.String() != "script" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	coded := askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", "br").Header().Get("Etag")
	w = askFile(h, http.MethodGet, "/app.js", "Accept-Encoding", "br", "Range", "bytes=4-9", "If-Range", coded)
	if w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != "" || !strings.HasPrefix(w.Body.String(), "the script, ") {
		t.Errorf("the rest of the coded form: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w = askFile(h, http.MethodGet, "/app.js", "Range", "bytes=400-"); w.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("%d", w.Code)
	}
}

func TestWhatIsNotToBeServedIsNotThere(t *testing.T) {
	h := compress.Files(site(time.Unix(1e9, 0)))
	for _, path := range []string{
		"/missing", "/.secret", "/.git/config", "/folder/.secret", "/folder/.a/other.txt", "/empty/", "/pipe", "/index.html/",
		"/../index.html", "/folder/../index.html", "/./index.html", "//index.html", "/folder//index.html", "/folder\\index.html", "/a\x00b", "/..",
	} {
		if w := askFile(h, http.MethodGet, path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/empty", "/folder?a=b"} {
		w := askFile(h, http.MethodGet, path)
		if want := "." + strings.Replace(path+"/", "?a=b/", "/?a=b", 1); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != want {
			t.Errorf("%q: %d %v", path, w.Code, w.Header())
		}
	}
	if w := askFile(h, http.MethodPost, "/index.html"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestALinkOutOfARootLeadsNowhere(t *testing.T) {
	outside, inside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(inside, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(inside, "file.txt"), bytes.Repeat([]byte("a"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	h := compress.Files(root.FS())
	for _, path := range []string{"/link", "/file.txt/a", "/" + strings.Repeat("a", 1000)} {
		if w := askFile(h, http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("%.20s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := askFile(h, http.MethodGet, "/file.txt"); w.Code != http.StatusOK || w.Body.Len() != 100_000 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
}

func TestAFileThatCannotBeReadNowIsNotCalledMissing(t *testing.T) {
	for err, want := range map[error]int{
		&fs.PathError{Op: "stat", Err: syscall.EMFILE}:  http.StatusInternalServerError,
		&fs.PathError{Op: "stat", Err: syscall.ENOTDIR}: http.StatusNotFound,
	} {
		if w := askFile(compress.Files(unreadable{err}), http.MethodGet, "/a"); w.Code != want {
			t.Errorf("%v: %d", err, w.Code)
		}
	}
}

type unreadable struct{ err error }

func (b unreadable) Open(string) (fs.File, error) { return nil, b.err }

func TestFilesThatWereNotCodedBeforeAreCodedByTheMiddleware(t *testing.T) {
	files := site(time.Unix(1e9, 0))
	files["long.txt"] = &fstest.MapFile{Data: bytes.Repeat([]byte("a line\n"), 1000), ModTime: time.Unix(1e9, 0)}
	h := compress.New(compress.Config{}, compress.Files(files))
	for path, want := range map[string]string{"/long.txt": "zstd", "/app.js": "br"} {
		if w := askFile(h, http.MethodGet, path, "Accept-Encoding", "zstd, br"); w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != want {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func ExampleFiles() {
	h := compress.Files(fstest.MapFS{
		"app.js":    {Data: []byte("console.log('the script, as it was written')")},
		"app.js.br": {Data: []byte("the script, by brotli -9")},
	})
	r := httptest.NewRequest(http.MethodGet, "/app.js", http.NoBody)
	r.Header.Set("Accept-Encoding", "gzip, br")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Header().Get("Content-Encoding"), w.Header().Get("Content-Type"), w.Body)
	// Output: br text/javascript; charset=utf-8 the script, by brotli -9
}
