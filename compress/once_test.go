package compress_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"

	"github.com/klauspost/compress/zstd"
)

// streaming answers with a stream whose events next gives, each flushed.
func streaming(next func() ([]byte, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for event, ok := next(); ok; event, ok = next() {
			_, _ = w.Write(event)
			_ = rc.Flush()
		}
	})
}

func streamed(writes ...[]byte) http.Handler {
	i := 0
	return streaming(func() ([]byte, bool) {
		i++
		if i > len(writes) {
			return nil, false
		}
		return writes[i-1], true
	})
}

func TestAnEventIsDecodedBeforeTheNextIsSent(t *testing.T) {
	content := samples(8 << 10)
	d := newDictionary(t, content)
	for name, cfg := range map[string]compress.Config{
		"shared":            {Dictionary: d, Budget: compress.NewBudget(0)},
		"a coder of itself": {Dictionary: d, NoShare: true},
	} {
		t.Run(name, func(t *testing.T) {
			events := make(chan []byte)
			s := httptest.NewTLSServer(compress.New(cfg, streaming(func() ([]byte, bool) { e, ok := <-events; return e, ok })))
			defer s.Close()
			defer close(events)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", "gzip, br, zstd, dcb, dcz")
			req.Header.Set("Available-Dictionary", d.Available())
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.Header.Get("Content-Encoding") != "dcz" {
				t.Fatalf("%v", res.Header)
			}
			var body *zstd.Decoder
			r := seeded(3)
			for i := range 50 {
				event := anOrder(r)
				switch i % 4 {
				case 0:
					event = aTick(r)
				case 1:
					event = []byte(":\n\n")
				}
				events <- event
				if i == 0 {
					head := make([]byte, 40)
					if _, err := io.ReadFull(res.Body, head); err != nil {
						t.Fatal(err)
					}
					hash := sha256.Sum256(content)
					after(t, head, "\x5e\x2a\x4d\x18\x20\x00\x00\x00"+string(hash[:]))
					if body, err = zstd.NewReader(res.Body, zstd.WithDecoderDictRaw(0, content), zstd.WithDecoderConcurrency(1)); err != nil {
						t.Fatal(err)
					}
					defer body.Close()
				}
				got := make([]byte, len(event))
				if _, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, event) {
					t.Fatalf("event %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

// stream returns what a client with the dictionary is sent.
func stream(t *testing.T, d *compress.Dictionary, cfg compress.Config, writes ...[]byte) []byte {
	t.Helper()
	cfg.Dictionary = d
	w := httptest.NewRecorder()
	compress.New(cfg, streamed(writes...)).ServeHTTP(w, ask(d, "dcz"))
	if got := w.Header().Get("Content-Encoding"); got != "dcz" {
		t.Fatalf("coding %q", got)
	}
	return w.Body.Bytes()
}

func TestEventsThatAreWrittenTogetherShareTheirFramesToo(t *testing.T) {
	content := samples(8 << 10)
	d := newDictionary(t, content)
	r := seeded(4)
	a, b, c, e := anOrder(r), aTick(r), anOrder(r), anOrder(r)
	whole := bytes.Join([][]byte{a, b, c, e}, nil)
	alone := stream(t, d, compress.Config{}, whole)      // nobody was sent any of them
	second := stream(t, d, compress.Config{}, whole)     // they are shared from now on
	apart := stream(t, d, compress.Config{}, a, b, c, e) // as the others were sent them
	mixed := stream(t, d, compress.Config{}, anOrder(r), append(bytes.Clone(whole), "data: another\n\n: and a comment, which is long enough\n\n"...))
	if len(alone) >= len(second) || !bytes.Equal(second, apart) {
		t.Errorf("%d bytes alone, %d for the second reader, %d apart", len(alone), len(second), len(apart))
	}
	if !bytes.Contains(mixed, second[40:]) {
		t.Error("those that are known do not have their frames beside others")
	}
	for _, body := range [][]byte{alone, second, mixed} {
		if got := decoded(t, "dcz", body, content); !bytes.Contains(got, whole) {
			t.Errorf("%q", got)
		}
	}
}

func TestEveryEventIsOneFrameThatStandsAlone(t *testing.T) {
	content := samples(8 << 10)
	d := newDictionary(t, content)
	z, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, content), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	r := seeded(5)
	for _, event := range [][]byte{anOrder(r), aTick(r), []byte(":\n\n"), []byte("data\n\n"), bytes.Repeat([]byte("x"), 60<<10)} {
		frame := stream(t, d, compress.Config{}, anOrder(seeded(7)), event)
		frame = frame[len(stream(t, d, compress.Config{}, anOrder(seeded(7)))):]
		if alone := stream(t, d, compress.Config{}, event); !bytes.Equal(alone[40:], frame) {
			t.Errorf("%.20q: the frame depends on what was before it", event)
		}
		var h zstd.Header
		if err := h.Decode(frame); err != nil {
			t.Fatal(err)
		}
		if !h.SingleSegment || h.HasCheckSum || h.DictionaryID != 0 || h.FrameContentSize != uint64(len(event)) {
			t.Errorf("%.20q: %+v", event, h)
		}
		if got, err := z.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, event) {
			t.Errorf("%.20q: %d bytes, %v", event, len(got), err)
		}
	}
}

func TestStreamsOfEveryShapeComeBack(t *testing.T) {
	content := samples(8 << 10)
	d := newDictionary(t, content)
	r := seeded(6)
	var batch []byte
	for range 1000 {
		batch = append(batch, anOrder(r)...)
	}
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, writes := range map[string][][]byte{
		"nothing":            nil,
		"empty writes":       {{}, {}},
		"heartbeats":         {[]byte(":\n\n"), []byte(":\n\n")},
		"one large write":    {batch},
		"no blank line":      {bytes.Repeat([]byte("data: x\n"), 40<<10)},
		"nothing to shrink":  {noise},
		"parts of an event":  {[]byte("data: "), []byte("a\n"), []byte("\n"), []byte("data: b\n\n")},
		"exactly a piece":    {bytes.Repeat([]byte("x"), 64<<10), []byte("\n\n")},
		"other line ends":    {[]byte("data: a\r\n\r\ndata: b\r\n\r\n")},
		"only line ends":     {bytes.Repeat([]byte("\n"), 100_001)},
		"long event at last": {[]byte("data: a\n\n" + string(bytes.Repeat([]byte("x"), 70<<10)) + "\n\n")},
	} {
		for _, cfg := range []compress.Config{{}, {NoShare: true}} {
			want := bytes.Join(writes, nil)
			if got := decoded(t, "dcz", stream(t, d, cfg, writes...), content); !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes came back as %d, NoShare %v", name, len(want), len(got), cfg.NoShare)
			}
		}
	}
}

func TestStreamsPreferTheSharedFramesOfDCZ(t *testing.T) {
	d := newDictionary(t, samples(8<<10))
	for _, c := range []struct {
		cfg    compress.Config
		accept string
		coding string
	}{
		{compress.Config{Dictionary: d, Prefer: compress.Size}, "dcb, dcz", "dcz"},
		{compress.Config{Dictionary: d, Prefer: compress.Size, NoShare: true}, "dcb, dcz", "dcb"},
		{compress.Config{Dictionary: d}, "dcb", "dcb"},
		{compress.Config{Dictionary: d}, "dcb;q=0.9, dcz;q=0.8", "dcb"},
	} {
		w := httptest.NewRecorder()
		compress.New(c.cfg, streamed([]byte("data: a\n\n"))).ServeHTTP(w, ask(d, c.accept))
		if got := w.Header().Get("Content-Encoding"); got != c.coding {
			t.Errorf("%q prefer %d: %q", c.accept, c.cfg.Prefer, got)
		}
	}
}

func ExampleConfig_dictionary() {
	content := samples(8 << 10)
	d, err := compress.NewDictionary(content, compress.DictionaryConfig{Match: "/topics*"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Both readers are sent the same frames, which are coded once.
	events := compress.New(compress.Config{Dictionary: d, Own: true}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("event: order\ndata: {\"orderId\":\"ord_1\",\"currency\":\"EUR\"}\n\n"))
	}))
	for range 2 {
		w := httptest.NewRecorder()
		events.ServeHTTP(w, ask(d, "gzip, br, zstd, dcb, dcz"))
		fmt.Println(w.Header().Get("Content-Encoding"), w.Body.Len() < 100)
	}
	// Output:
	// dcz true
	// dcz true
}

// FuzzEvents holds a stream, however it is written and flushed, to what a client
// reads of it.
func FuzzEvents(f *testing.F) {
	content := samples(4 << 10)
	d := newDictionary(f, content)
	for _, s := range []string{"data: a\n\ndata: b\n\n", "\n\n\n\n\n", ":\n\n", "data: a\r\n\r\n", "", string(anOrder(seeded(11)))} {
		f.Add([]byte(s), uint16(0x5555), byte(1))
		f.Add([]byte(s), uint16(0), byte(100))
	}
	f.Fuzz(func(t *testing.T, text []byte, flush uint16, times byte) {
		if len(text) > 4<<10 {
			return // only slower
		}
		want := bytes.Repeat(text, int(times))
		h := compress.New(compress.Config{Dictionary: d}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range times {
				_, _ = w.Write(text)
				if flush>>(i%16)&1 == 1 {
					_ = http.NewResponseController(w).Flush()
				}
			}
		}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, ask(d, "dcz"))
		if times == 0 && w.Header().Get("Content-Encoding") == "" {
			return // the handler wrote nothing at all
		}
		if got := decoded(t, "dcz", w.Body.Bytes(), content); !bytes.Equal(got, want) {
			t.Errorf("%q came back as %q", want, got)
		}
	})
}
