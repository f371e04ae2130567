package compress

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

// event is one of many that are alike.
func event(i int) []byte {
	return fmt.Appendf(nil, "data: {\"id\":%d,\"price\":%d.5,\"text\":\"%0512x\"}\n\n", i, i*7919%1000, i*104729)
}

func TestACoderHoldsNoMoreThanItTakesOfTheBudget(t *testing.T) {
	const coders, events = 8, 500 // more than the windows
	for name, c := range map[string]*codec{
		"zstd fast": zstdFast, "zstd small": zstdSmall, "brotli fast": brotliFast, "brotli small": brotliSmall, "gzip fast": gzipFast, "gzip small": gzipSmall,
	} {
		for _, stream := range []bool{false, true} {
			before := heap()
			var all []coder
			var size int64
			for range coders {
				var w coder
				w, size = c.coder(stream)
				w.Reset(io.Discard)
				for i := range events {
					if _, err := w.Write(event(i)); err != nil {
						t.Fatal(err)
					}
					if stream && w.Flush() != nil {
						t.Fatal("a flush failed")
					}
				}
				all = append(all, w)
			}
			held := (heap() - before) / coders
			t.Logf("%s, stream %v: %d KiB of %d", name, stream, held>>10, size>>10)
			if held > size || held < size/2 {
				t.Errorf("%s, stream %v: a coder holds %d bytes, and takes %d", name, stream, held, size)
			}
			runtime.KeepAlive(all)
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools had kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // a heap of less than 8 EiB
}
