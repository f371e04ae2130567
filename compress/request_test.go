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
	"runtime"
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

// The bombs become 1 GiB of zeros.
const bombParts = 1 << 10 // of 1 MiB

func gzipBomb(t testing.TB) []byte {
	return bytes.Repeat(coded(t, make([]byte, 1<<20), "gzip"), bombParts)
}

// zstdBomb is one frame with a window descriptor (RFC 8878 §3.1.1.1.2).
func zstdBomb(window byte) []byte {
	bomb := append([]byte("\x28\xb5\x2f\xfd\x00"), window)
	for range bombParts * 8 { // blocks of one byte, repeated 128 Ki times
		bomb = append(bomb, 0x02, 0x00, 0x10, 0x00)
	}
	return append(bomb, 0x01, 0x00, 0x00)
}

// brotliBomb repeats the part that a coder sends for one more MiB of zeros.
func brotliBomb(t testing.TB) []byte {
	var out bytes.Buffer
	w, err := brrr.NewWriterOptions(&out, 5, brrr.WriterOptions{LGWin: 18})
	if err != nil {
		t.Fatal(err)
	}
	var parts [4]int
	for i := range parts {
		_, _ = w.Write(make([]byte, 1<<20))
		_ = w.Flush()
		parts[i] = out.Len()
	}
	first, part := out.Bytes()[:parts[2]], out.Bytes()[parts[2]:parts[3]]
	return append(append(bytes.Clone(first), bytes.Repeat(part, bombParts-3)...), 0x03)
}

func TestABombCostsNoMoreThanItsLimit(t *testing.T) {
	bombs := map[string]struct {
		encoding string
		body     []byte
	}{
		"gzip":         {"gzip", gzipBomb(t)},
		"brotli":       {"br", brotliBomb(t)},
		"zstd":         {"zstd", zstdBomb(0x50)},
		"large window": {"zstd", zstdBomb(0x68)},
		"gzip twice":   {"gzip, gzip", coded(t, gzipBomb(t), "gzip")},
		"zstd of gzip": {"gzip, zstd", coded(t, gzipBomb(t), "zstd")},
		// What is between the codings is skipped: nothing comes of it, and it
		// costs time.
		"skipped": {"zstd, gzip", coded(t, bytes.Repeat(append([]byte("\x50\x2a\x4d\x18\x00\x00\x10\x00"), make([]byte, 1<<20)...), 64), "gzip")},
	}
	for name, c := range bombs {
		for _, limit := range []struct {
			cfg  compress.DecodeConfig
			most int64
		}{
			{compress.DecodeConfig{}, 16 << 20},
			{compress.DecodeConfig{MaxBytes: 5 << 20, MaxRatio: 1 << 40}, 5 << 20},
			{compress.DecodeConfig{MaxBytes: 1 << 40, MaxRatio: 10}, 1<<20 + 10*int64(len(c.body))},
		} {
			limit.cfg.Budget = compress.NewBudget(64 << 20)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var n int64
			var err error
			w := post(limit.cfg, c.encoding, bytes.NewReader(c.body), reading(&n, &err))
			runtime.ReadMemStats(&after)
			tooLarge, ok := errors.AsType[*http.MaxBytesError](err)
			if !ok || w.Code != http.StatusRequestEntityTooLarge || n > limit.most || n > tooLarge.Limit {
				t.Errorf("%s: %d with %d of %d bytes, %v", name, w.Code, n, limit.most, err)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
				t.Errorf("%s: %d MiB were allocated", name, allocated>>20)
			}
			if used := limit.cfg.Budget.Used(); used != 0 {
				t.Errorf("%s: %d bytes of the budget are not given back", name, used)
			}
		}
	}
}

func TestTheBombsAreWhatTheySay(t *testing.T) {
	for name, part := range map[string]io.Reader{
		"gzip":   must(gzip.NewReader(bytes.NewReader(gzipBomb(t)))),
		"brotli": brrr.NewReader(bytes.NewReader(brotliBomb(t))),
		"zstd":   must(zstd.NewReader(bytes.NewReader(zstdBomb(0x50)), zstd.WithDecoderConcurrency(1))),
	} {
		if n, err := io.Copy(io.Discard, io.LimitReader(part, 100<<20)); n != 100<<20 || err != nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestABodyThatRepeatsItselfMayWithinTheFirstMiB(t *testing.T) {
	var n int64
	var err error
	if w := post(compress.DecodeConfig{}, "zstd", bytes.NewReader(coded(t, make([]byte, 1<<20), "zstd")), reading(&n, &err)); w.Code != http.StatusOK || n != 1<<20 {
		t.Errorf("%d with %d bytes, %v", w.Code, n, err)
	}
	for _, length := range []int{5000, 5001} {
		w := post(compress.DecodeConfig{MaxBytes: 5000}, "gzip", bytes.NewReader(coded(t, make([]byte, length), "gzip")), reading(&n, &err))
		if want := map[int]int{5000: http.StatusOK, 5001: http.StatusRequestEntityTooLarge}[length]; w.Code != want || n != 5000 {
			t.Errorf("%d: %d with %d bytes, %v", length, w.Code, n, err)
		}
	}
}

func TestAWindowOver8MiBIsRefused(t *testing.T) {
	large, err := brrr.NewWriterOptions(new(bytes.Buffer), 5, brrr.WriterOptions{LGWin: 24})
	if err != nil {
		t.Fatal(err)
	}
	var brotli bytes.Buffer
	large.Reset(&brotli)
	_, _ = large.Write(make([]byte, 20<<20))
	_ = large.Close()
	for encoding, body := range map[string][]byte{"zstd": zstdBomb(0x70), "br": brotli.Bytes()} {
		var n int64
		w := post(compress.DecodeConfig{}, encoding, bytes.NewReader(body), reading(&n, &err))
		if w.Code != http.StatusRequestEntityTooLarge || n != 0 {
			t.Errorf("%s: %d with %d bytes, %v", encoding, w.Code, n, err)
		}
	}
}

func TestBodiesBeyondTheBudgetAreToComeBack(t *testing.T) {
	budget := compress.NewBudget(6 << 20)
	cfg := compress.DecodeConfig{Budget: budget}
	body := coded(t, make([]byte, 100), "br") // with a window of up to 4 MiB
	w := post(cfg, "br", bytes.NewReader(body), func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		var n int64
		var err error
		if w := post(cfg, "zstd", bytes.NewReader(zstdBomb(0x68)), reading(&n, &err)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %v, %v", w.Code, w.Header(), err)
		}
	})
	if w.Code != http.StatusOK || budget.Used() != 0 || budget.Refused() != 1 {
		t.Errorf("%d, %d bytes used, %d refused", w.Code, budget.Used(), budget.Refused())
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
