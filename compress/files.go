package compress

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// siblings are what a file's coded forms are called.
var siblings = []struct{ coding, suffix string }{{zstdName, ".zst"}, {brotliName, ".br"}, {gzipName, ".gz"}}

// Files returns a handler that serves the files of fsys, coded by what was coded
// before: app.js as app.js.zst, app.js.br or app.js.gz where there is such a
// file and the client accepts it, the shortest of those that it weighs most. One
// that is older than the file, or longer, is not used. Ranges are of the file
// itself (RFC 9110 §14).
//
// The path of a URL is a file's, or with a / at its end that of a folder with an
// index.html. Nothing is listed, and what begins with a dot, or is in a folder
// that does, is not there. To keep links inside the folder, take the FS of an
// os.Root. The files must be io.Seekers, as those of os, embed and testing/fstest
// are; those without a time of modification are taken to never change, as those
// of embed do not.
//
// Each form has an ETag of its own, from its time and length, or from its
// content without a time. Put [New] around Files for what was not coded before.
func Files(fsys fs.FS) http.Handler { return &files{fsys: fsys, hashes: make(map[string]string)} }

type files struct {
	fsys fs.FS

	mu     sync.Mutex
	hashes map[string]string // of files without a time, at most maxHashes
}

// maxHashes bounds the hashes that are remembered; they are about 100 bytes.
const maxHashes = 10_000

// ServeHTTP serves the file of r's path.
func (s *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "files can only be read", http.StatusMethodNotAllowed)
		return
	}
	name, ok := fileName(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	info, err := fs.Stat(s.fsys, name)
	switch {
	case err == nil && info.IsDir() && !strings.HasSuffix(r.URL.Path, "/"):
		toFolder(w, r)
		return
	case passing(err):
		http.Error(w, "the file cannot be read now", http.StatusInternalServerError)
		return
	case err != nil, !info.Mode().IsRegular(): // opening a pipe would wait for who writes to it
		http.NotFound(w, r)
		return
	}
	s.serve(w, r, name, info)
}

// passing reports whether an error says nothing about the file: the process has
// too many open, for one.
func passing(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// fileName returns the file that a URL's path stands for.
func fileName(urlPath string) (string, bool) {
	name := strings.TrimPrefix(urlPath, "/")
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", false
	}
	for element := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(element, ".") {
			return "", false
		}
	}
	return name, true
}

// toFolder redirects to a folder's own URL, so that the links of its page work.
func toFolder(w http.ResponseWriter, r *http.Request) {
	target := "./" + path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusMovedPermanently)
}

// serve serves a file in the form that suits the client.
func (s *files) serve(w http.ResponseWriter, r *http.Request, name string, info fs.FileInfo) {
	header := w.Header()
	form, coding := name, ""
	found, exist := s.form(r, name, info)
	if exist {
		vary(header, "Accept-Encoding")
	}
	if found >= 0 {
		form, coding = name+siblings[found].suffix, siblings[found].coding
	}
	f, err := s.fsys.Open(form)
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	content, seeks := f.(io.ReadSeeker)
	if info, err = f.Stat(); err != nil || !seeks { // it may be another one than before
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	contentType, err := s.contentType(name)
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	if etag := s.etag(form, coding, info, content); etag != "" {
		header.Set("Etag", etag)
	}
	header.Set("Content-Type", contentType)
	if coding != "" {
		header.Set("Content-Encoding", coding)
		w = &codedFile{ResponseWriter: w, length: info.Size()}
	}
	http.ServeContent(w, r, "", info.ModTime(), content)
}

// form returns which of the siblings to send, -1 for the file itself, and
// whether there are any.
func (s *files) form(r *http.Request, name string, info fs.FileInfo) (found int, exist bool) {
	found = -1
	accepted := parseAccept(r.Header["Accept-Encoding"])
	most, shortest := accepted.identity, info.Size()
	for i, sibling := range siblings {
		coded, err := fs.Stat(s.fsys, name+sibling.suffix)
		if err != nil || !coded.Mode().IsRegular() || coded.ModTime().Before(info.ModTime()) || coded.Size() >= info.Size() {
			continue
		}
		exist = true
		q := accepted.of(sibling.coding)
		if r.Header.Get("Range") != "" || q == 0 || q < most || q == most && coded.Size() >= shortest {
			continue
		}
		found, most, shortest = i, q, coded.Size()
	}
	return found, exist
}

// contentType is that of the file itself, by its name or else by how it begins.
func (s *files) contentType(name string) (string, error) {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t, nil
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	start := make([]byte, 512) // as many as DetectContentType looks at
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return http.DetectContentType(start[:n]), nil
}

// etag returns a form's ETag, "" if it cannot be told.
func (s *files) etag(form, coding string, info fs.FileInfo, content io.ReadSeeker) string {
	var tag string
	if at := info.ModTime(); at.IsZero() {
		tag = s.hash(form, content)
	} else {
		tag = strconv.FormatInt(at.UnixNano(), 36) + "-" + strconv.FormatInt(info.Size(), 36)
	}
	if tag == "" {
		return ""
	}
	if coding != "" {
		tag += "-" + coding
	}
	return strconv.Quote(tag)
}

// hash returns a content's hash, which is remembered.
func (s *files) hash(form string, content io.ReadSeeker) string {
	s.mu.Lock()
	known, full := s.hashes[form], len(s.hashes) >= maxHashes
	s.mu.Unlock()
	if known != "" || full {
		return known
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return ""
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return ""
	}
	known = hex.EncodeToString(sum.Sum(nil)[:16])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hashes[form] = known
	return known
}

// codedFile is a response with a coded form. http.ServeContent, which knows of
// coders that follow, does not say how long it is, and offers ranges of it.
type codedFile struct {
	http.ResponseWriter

	length int64
}

// Unwrap lets an http.ResponseController set deadlines.
func (c *codedFile) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *codedFile) WriteHeader(status int) {
	header := c.Header()
	if status == http.StatusOK {
		header.Set("Content-Length", strconv.FormatInt(c.length, 10))
		header.Del("Accept-Ranges")
	} else {
		header.Del("Content-Encoding")
	}
	c.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets the file go to the socket without a copy.
func (c *codedFile) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.ResponseWriter, r) }
