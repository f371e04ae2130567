package compress_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/molecule-man/go-brrr"
)

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
