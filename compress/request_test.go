package compress_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

// coded returns p in each of the codings in turn.
func coded(t testing.TB, p []byte, codings ...string) []byte {
	t.Helper()
	for _, coding := range codings {
		var out bytes.Buffer
		var w io.WriteCloser
		var err error
		switch coding {
		case "gzip":
			w = gzip.NewWriter(&out)
		case "br":
			w, err = brrr.NewWriter(&out, 4)
		case "zstd":
			w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p = out.Bytes()
	}
	return p
}

// post sends a body with a Content-Encoding through Decode.
func post(cfg compress.DecodeConfig, encoding string, body io.Reader, next http.HandlerFunc) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = -1
	r.Header.Set("Content-Encoding", encoding)
	w := httptest.NewRecorder()
	compress.Decode(cfg, next).ServeHTTP(w, r)
	return w
}

// reading reads the body to its end into *n and *err.
func reading(n *int64, err *error) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		*n, *err = io.Copy(io.Discard, r.Body)
	}
}

func TestTheHandlerReadsWhatTheClientCoded(t *testing.T) {
	r := seeded(10)
	var long []byte
	for len(long) < 1<<20 {
		long = append(long, anOrder(r)...)
	}
	for _, c := range []struct {
		encoding string
		codings  []string
	}{
		{"gzip", []string{"gzip"}},
		{"X-GZip", []string{"gzip"}},
		{"br", []string{"br"}},
		{"zstd", []string{"zstd"}},
		{"identity", nil},
		{"identity, zstd", []string{"zstd"}},
		{"gzip, br", []string{"gzip", "br"}},
		{"br,\tzstd", []string{"br", "zstd"}},
		{"zstd, gzip", []string{"zstd", "gzip"}},
		{"gzip, gzip", []string{"gzip", "gzip"}},
	} {
		for _, body := range [][]byte{{}, []byte("a"), long} {
			req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(coded(t, body, c.codings...)))
			req.Header.Set("Content-Encoding", c.encoding)
			req.Header.Set("Content-Length", "5")
			req.Header.Set("Content-Digest", "sha-256=:AA==:")
			req.Header.Set("X-Own", "stays")
			w := httptest.NewRecorder()
			compress.Decode(compress.DecodeConfig{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, err := io.ReadAll(r.Body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: %d bytes came as %d, %v", c.encoding, len(body), len(got), err)
				}
				if c.codings != nil && r.ContentLength != -1 {
					t.Errorf("%s: length %d", c.encoding, r.ContentLength)
				}
				if len(r.Header) != 1 || r.Header.Get("X-Own") != "stays" {
					t.Errorf("%s: header %v", c.encoding, r.Header)
				}
				w.WriteHeader(http.StatusTeapot)
			})).ServeHTTP(w, req)
			if w.Code != http.StatusTeapot {
				t.Errorf("%s: %d %s", c.encoding, w.Code, w.Body)
			}
			if req.Header.Get("Content-Encoding") != c.encoding {
				t.Errorf("%s: the client's own request was changed", c.encoding)
			}
		}
	}
}

func TestARequestWithoutACodingIsNotTouched(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("as it is"))
	w := httptest.NewRecorder()
	compress.Decode(compress.DecodeConfig{}, http.HandlerFunc(func(into http.ResponseWriter, got *http.Request) {
		if got != r || into != http.ResponseWriter(w) {
			t.Error("it was wrapped")
		}
	})).ServeHTTP(w, r)
}

func TestACodingThatIsNotKnownIsRefusedWithThoseThatAre(t *testing.T) {
	for _, encoding := range []string{"deflate", "dcz", "compress", "gzip, deflate", "gzip, br, zstd", "gzip;q=1", `"gzip"`} {
		w := post(compress.DecodeConfig{}, encoding, strings.NewReader("a"), func(http.ResponseWriter, *http.Request) { t.Errorf("%s: served", encoding) })
		if w.Code != http.StatusUnsupportedMediaType || w.Header().Get("Accept-Encoding") != "zstd, br, gzip" {
			t.Errorf("%s: %d %v", encoding, w.Code, w.Header())
		}
	}
}

func TestABodyThatIsNotWhatItSaysIsTheClientsFault(t *testing.T) {
	body := bytes.Repeat([]byte("a body "), 1000)
	for _, coding := range []string{"gzip", "br", "zstd"} {
		whole := coded(t, body, coding)
		for name, sent := range map[string][]byte{
			"something else": []byte("{\"not\": \"coded\"}, but long enough to look like it"),
			"cut off":        whole[:len(whole)-1],
			"nearly nothing": whole[:1],
			"more behind it": append(bytes.Clone(whole), 'x'),
		} {
			var n int64
			var err error
			w := post(compress.DecodeConfig{}, coding, bytes.NewReader(sent), reading(&n, &err))
			if failed, ok := errors.AsType[*compress.DecodeError](err); !ok || failed.Status != http.StatusBadRequest {
				t.Errorf("%s, %s: %d bytes, %v", coding, name, n, err)
			}
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s, %s: %d", coding, name, w.Code)
			}
		}
	}
}

func TestAHandlerThatAnswersHasTheLastWord(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot) },
		"Write":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, "ok") },
		"ReadFrom":    func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("ok")) },
		"Flush":       func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		w := post(compress.DecodeConfig{}, "gzip", strings.NewReader("not gzip"), func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			answer(w)
		})
		if w.Code == http.StatusBadRequest {
			t.Errorf("%s: answered 400 over it", name)
		}
	}
	s := httptest.NewServer(compress.Decode(compress.DecodeConfig{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints) // is not the answer
		_, _ = io.ReadAll(r.Body)
	})))
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("not gzip"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "gzip")
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("after an interim answer: %d", res.StatusCode)
	}
}

func TestAConnectionThatFailsIsNotTheCodingsFault(t *testing.T) {
	gone := errors.New("the client has gone")
	for _, coding := range []string{"gzip", "br", "zstd"} {
		whole := coded(t, make([]byte, 1000), coding)
		for _, sent := range []int{0, 3, len(whole) / 2} {
			var n int64
			var err error
			post(compress.DecodeConfig{}, coding, io.MultiReader(bytes.NewReader(whole[:sent]), failing{gone}), reading(&n, &err))
			if !errors.Is(err, gone) {
				t.Errorf("%s after %d: %v", coding, sent, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestABodyIsNotReadAfterItsHandler(t *testing.T) {
	var body io.ReadCloser
	budget := compress.NewBudget(64 << 20)
	post(compress.DecodeConfig{Budget: budget}, "zstd", bytes.NewReader(coded(t, make([]byte, 1000), "zstd")), func(_ http.ResponseWriter, r *http.Request) {
		body = r.Body
		_, _ = io.ReadFull(body, make([]byte, 10))
		if budget.Used() == 0 {
			t.Error("a window costs nothing")
		}
	})
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if budget.Used() != 0 {
		t.Errorf("%d bytes are held", budget.Used())
	}
}

// A proxy's transport may still wait for the body when the upstream has
// answered and the handler has returned.
func TestAReadThatWaitsDoesNotHoldUpTheHandler(t *testing.T) {
	whole := coded(t, bytes.Repeat([]byte("a part, "), 1000), "zstd")
	in, client := io.Pipe()
	budget := compress.NewBudget(64 << 20)
	waiting, ended := make(chan struct{}), make(chan struct{})
	w := post(compress.DecodeConfig{Budget: budget}, "zstd", in, func(w http.ResponseWriter, r *http.Request) {
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, r.Body)
		}()
		go func() {
			_, _ = client.Write(whole[:len(whole)/2])
			_, _ = client.Write(whole[len(whole)/2 : len(whole)-1])
			close(waiting)
		}()
		<-waiting
		w.WriteHeader(http.StatusForbidden)
	})
	if w.Code != http.StatusForbidden {
		t.Errorf("%d", w.Code)
	}
	_ = client.Close()
	<-ended
	if budget.Used() != 0 {
		t.Errorf("%d bytes are held", budget.Used())
	}
}

func TestABodyIsDecodedAsItComes(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			s := httptest.NewServer(compress.Decode(compress.DecodeConfig{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				_ = rc.Flush()
				part := make([]byte, 6)
				for {
					if _, err := io.ReadFull(r.Body, part); err != nil {
						return
					}
					_, _ = w.Write(part)
					_ = rc.Flush()
				}
			})))
			defer s.Close()
			in, out := io.Pipe()
			req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, s.URL, in)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Encoding", coding)
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var w interface {
				io.WriteCloser
				Flush() error
			}
			switch coding {
			case "gzip":
				w = gzip.NewWriter(out)
			case "br":
				w = must(brrr.NewWriter(out, 4))
			default:
				w = must(zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)))
			}
			for i := range 10 {
				part := fmt.Sprintf("part %d", i)
				_, _ = io.WriteString(w, part)
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 6)
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != part {
					t.Fatalf("%q, %v", got, err)
				}
			}
			_ = w.Close()
			_ = out.Close()
		})
	}
}

// FuzzDecode holds whatever is sent to the limits, and what is refused to a
// status.
func FuzzDecode(f *testing.F) {
	for _, codings := range [][]string{{"gzip"}, {"br"}, {"zstd"}, {"gzip", "br"}, {"zstd", "zstd"}} {
		f.Add(strings.Join(codings, ", "), coded(f, bytes.Repeat([]byte("a body "), 100), codings...))
	}
	f.Add("zstd", zstdBomb(0x50)[:100])
	f.Add("zstd", zstdBomb(0xff)[:10])
	f.Add("br", []byte{0x11, 0x00})
	header := binary.LittleEndian.AppendUint32([]byte("\x1f\x8b\x08\x02\x00\x00\x00\x00\x00\xff"), crc32.ChecksumIEEE(nil))
	f.Add("gzip", header)
	f.Fuzz(func(t *testing.T, encoding string, sent []byte) {
		budget := compress.NewBudget(32 << 20)
		cfg := compress.DecodeConfig{MaxBytes: 2 << 20, MaxRatio: 10, Budget: budget}
		var n int64
		var err error
		w := post(cfg, encoding, bytes.NewReader(sent), reading(&n, &err))
		if n > 2<<20 || n > 1<<20+10*int64(len(sent)) {
			t.Errorf("%d bytes became %d", len(sent), n)
		}
		if _, ok := errors.AsType[*compress.DecodeError](err); ok != (err != nil) || ok != (w.Code != http.StatusOK && w.Code != http.StatusUnsupportedMediaType) {
			t.Errorf("%d, %v", w.Code, err)
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes are held", budget.Used())
		}
	})
}

func ExampleDecode() {
	h := compress.Decode(compress.DecodeConfig{MaxBytes: 1 << 20}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is told what was wrong with it
		}
		fmt.Fprintf(w, "%s", body)
	}))
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	_, _ = z.Write([]byte("hello"))
	_ = z.Close()
	r := httptest.NewRequest(http.MethodPost, "/", &body)
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 hello
}
